"""Where tokens and context vectors stand in a prompt."""

import pytest

from dho_prompt.clip.prompts import PromptTokens, padded_ids


def test_hand_worked_prompts(tokenizer):
    (start, end, stop) = (tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.encode(".")[0])
    golden, retriever = tokenizer.encode("golden retriever")
    rows = {
        "end": [start, -1, -2, -3, golden, retriever, stop, end],
        "middle": [start, -1, golden, retriever, -2, -3, stop, end],
        "front": [start, golden, retriever, -1, -2, -3, stop, end],
    }
    for position, row in rows.items():
        prompts = PromptTokens(tokenizer, ["golden_retriever"], 3, position)
        assert prompts.slots == [row]
        assert prompts.name_lengths == [2]
    assert padded_ids([[start, -1, stop, end]], 6, 9).tolist() == [[start, 9, stop, end, 0, 0]]


def test_full_stop_that_joins_the_name_is_kept_as_the_tokenizer_sees_it(tokenizer):
    (row,) = PromptTokens(tokenizer, ["crane (bird)"], 2).slots
    assert row[1:3] == [-1, -2]
    assert row[3:-1] == tokenizer.encode("crane (bird).")  # ").": one token, not two


def test_too_long_prompt_names_class_count_and_largest_context(tokenizer):
    name = " ".join(["cat"] * 20)
    with pytest.raises(ValueError, match=rf"'{name}' has 83 tokens with N_CTX 60.*reads 77.*fits is 54"):
        PromptTokens(tokenizer, ["dog", name], 60)
    with pytest.raises(ValueError, match="has 78 tokens with N_CTX 55"):
        PromptTokens(tokenizer, ["dog", name], 55)
    PromptTokens(tokenizer, ["dog", name], 54)
    with pytest.raises(ValueError, match="shorten the name"):
        PromptTokens(tokenizer, ["cat " * 80], 1)


def test_wrong_arguments(tokenizer):
    with pytest.raises(ValueError, match="allowed are end, middle, front"):
        PromptTokens(tokenizer, ["cat"], 4, "back")
    with pytest.raises(ValueError, match="at least one class"):
        PromptTokens(tokenizer, [], 4)
    with pytest.raises(ValueError, match="at least 1, 0 was given"):
        PromptTokens(tokenizer, ["cat"], 0)
    with pytest.raises(ValueError, match="has 4 words, but N_CTX is 16"):
        PromptTokens(tokenizer, ["cat"], 16, prefix="a photo of a")
    with pytest.raises(ValueError, match="lacks encode"):
        PromptTokens(object(), ["cat"], 4)
