"""SIMS: Qi et al., Semi-parametric Image Synthesis, CVPR 2018 (arXiv 1804.10992).

Section 3.1 is `segments`, `bank`, `features` and `building`; 3.2 `retrieval`, `networks.Transformation` and `warping`;
3.3 `ordering` and `networks.Order`; 3.4 `canvas` and `composing`; 5 `networks.Synthesis`, `simulation`, `practice` and
`losses`; `method` puts them together. Deviations from paper and code are listed in those files. One training run
trains all three networks; the authors' scripts do so one after another, with the same samples.
"""

from semantic_synthesis.methods.sims.config import SIMSConfig
from semantic_synthesis.methods.sims.method import SIMS

__all__ = ["SIMS", "SIMSConfig"]
