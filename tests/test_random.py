import pytest
import torch

from sklearn_bcl._random import isolated_rng, seed_from


def test_isolated_rng(device):
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    draws = []
    for _ in range(2):
        with isolated_rng(3, device):
            draws.append((torch.rand(3), torch.rand(3, device=device)))
            with isolated_rng(4, device):  # threads and fits may be nested
                inner = torch.rand(3, device=device)
            draws[-1] += (torch.rand(3, device=device),)
    for first, second in zip(*draws, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(draws[0][1], inner)
    assert not torch.equal(draws[0][2], inner)
    assert torch.equal(torch.get_rng_state(), states[0])
    if device.type == "cuda":
        assert torch.equal(torch.cuda.get_rng_state(device), states[1])


def test_isolated_rng_restores_after_an_error(device):
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), isolated_rng(3, device):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_from(device):
    generator = torch.Generator(device).manual_seed(0)
    seeds = [seed_from(generator) for _ in range(3)]
    assert len(set(seeds)) == 3
    assert seed_from(torch.Generator(device).manual_seed(0)) == seeds[0]
    assert seed_from(torch.Generator(device).manual_seed(1)) != seeds[0]
    torch.Generator(device).manual_seed(seeds[0])  # a seed that torch takes
