"""Configuration files: YAML, read as names and plain values; nothing in them runs, nothing is passed over."""

import pytest

from dho_prompt.config.settings import as_float, flat, literal, read_settings, refuse_unplain


@pytest.fixture
def write(tmp_path):
    def written(text, name="c.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return written


def test_names_become_dotted_and_values_stay_plain(write):
    text = "A:\n  B: {C: 1, D: [x, 2.5, null]}\n  E: on\nF.G: text\nH: {}\n"
    for name in ("c.yaml", "c.yml", "C.YAML"):
        assert read_settings(write(text, name)) == {"A.B.C": 1, "A.B.D": ["x", 2.5, None], "A.E": True, "F.G": "text"}
    assert read_settings(write("# nothing\n")) == {}


def test_a_python_file_is_not_run(write, tmp_path):
    """yacs runs files that end in .py."""
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()\ncfg = {{'SEED': 1}}\n"
    for name in ("c.py", "c.yaml.py", "c", "c.json"):
        with pytest.raises(ValueError, match=r"has another ending than \.yaml or \.yml"):
            read_settings(write(code, name))
    for tag in ("!!python/object/apply:os.system", "!!python/name:os.system"):
        with pytest.raises(ValueError, match=r"c\.yaml is not a readable YAML.*could not determine a constructor"):
            read_settings(write(f"SEED: {tag} ['touch {marker}']\n"))
    assert not marker.exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("A:\n  B: 1\n  C: 2\n  B: 1\n", "line 4: A.B is set twice"),
        ("A: {B: 1}\nC: 1\nA: {D: 2}\n", "line 3: A is set twice"),
        ("A: {B: 1}\nA.B: 2\n", "line 2: A.B is set twice"),
        ("A:\n  7: x\n", "line 2: 7 is no name of a setting"),
        ("A: {NO: x}\n", "line 1: NO is no name of a setting"),
        ("? [a, b]\n: 1\n", "line 1: a list or mapping is no name"),
        ("- A\n- B\n", "line 1: names and their values are expected"),
        ("just text\n", "line 1: names and their values are expected"),
        ("A: &a {B: 1}\nC: *a\n", r"line 2: references \(\*name\) are not read"),
        ("A: &a [*a]\n", "references"),
        ("A: 2024-01-31\n", "line 1: a date is no value of a setting; put it in quotes"),
        ("A:\n  - {B: 1}\n", "line 2: a dict is no value"),
        ("A: [1, 2\n", "expected ',' or ']'"),
        ("A: 1\n--- \nB: 2\n", "expected a single document"),
        ("A: " + "[" * 9000, "recursion"),
    ],
)
def test_what_is_refused_names_the_line(write, text, message):
    with pytest.raises(ValueError, match=r"(?s)c\.yaml is not a readable YAML configuration.*" + message):
        read_settings(write(text))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"A: \xff\xfe\n")
    with pytest.raises(ValueError, match="c.yaml is not a readable YAML configuration: 'utf-8' codec"):
        read_settings(str(tmp_path / "c.yaml"))
    with pytest.raises(FileNotFoundError, match="there is no configuration file .*absent.yaml"):
        read_settings(str(tmp_path / "absent.yaml"))


def test_literals_of_the_command_line():
    assert literal("(1, 'a')") == (1, "a") and literal("a photo") == "a photo" and literal("{[]: 1}") == "{[]: 1}"
    assert literal("(" * 500 + "1") == "(" * 500 + "1"
    assert as_float(3) == 3.0 and as_float(10**400) == float("inf")
    assert dict(flat({"A": {"B": 1, "C": {}}, "D": [1]})) == {"A.B": 1, "D": [1]}


@pytest.mark.parametrize("value", [float("inf"), float("nan"), (0.5, [float("-inf")])])
def test_numbers_must_be_finite(value):
    with pytest.raises(ValueError, match="KEY is set; numbers must be finite"):
        refuse_unplain(value, "KEY is set")


def test_other_kinds_are_refused():
    refuse_unplain([1, (2.5, None), "x", True], "KEY")
    for value in (1j, {1}, b"x", ["a", {}]):
        with pytest.raises(ValueError, match="KEY; values are texts, numbers"):
            refuse_unplain(value, "KEY")
