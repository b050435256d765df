"""A run as a model for TF Serving, what lies beside it, and a development server with the same interface."""
