"""torch and a NumPy that it cannot use."""

import pytest
import torch

from dho_prompt.engine.numpy_fits import check_numpy


def test_a_torch_that_cannot_use_this_numpy_is_refused_with_a_remedy(monkeypatch):
    check_numpy()

    def fails(array):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", fails)
    with pytest.raises(
        ImportError, match="cannot use NumPy .*Numpy is not available.*pip install 'numpy<2', or a newer"
    ):
        check_numpy()
