"""Whether torch and NumPy can work together, which their packages do not say."""

from __future__ import annotations

import numpy as np
import torch


def check_numpy() -> None:
    """Refuse a torch that was built for another NumPy: torch before 2.3 with NumPy 2, which pip installs side by side.

    Raises:
        ImportError: says what to install.
    """
    try:
        torch.from_numpy(np.zeros(1))
    except RuntimeError as error:
        raise ImportError(
            f"torch {torch.__version__} cannot use NumPy {np.__version__} ({error}); torch before 2.3 needs NumPy 1: "
            "pip install 'numpy<2', or a newer torch"
        ) from error
