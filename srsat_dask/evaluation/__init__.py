"""Evaluation: degrade, upscale, compare, report; bicubic always beside the model."""
