"""SIMS: Qi et al., Semi-parametric Image Synthesis, CVPR 2018 (arXiv 1804.10992)."""
