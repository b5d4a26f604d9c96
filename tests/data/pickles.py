"""Few-shot pickles as CoOp writes them, and such as would do harm."""

import os
import pickle
import sys
import types


def dassl_datum():
    """Dassl's class for an image, as a pickle refers to it."""

    class Datum:
        def __init__(self, impath, label, classname="x"):
            self._impath, self._label, self._domain, self._classname = impath, label, 0, classname

    Datum.__module__, Datum.__qualname__ = "dassl.data.datasets.base_dataset", "Datum"
    return Datum


def dumper(monkeypatch):
    """A function that writes what CoOp would, ``dump(path, train=[(path, label), ...], val=...)``."""
    Datum = dassl_datum()

    def write(path, protocol=pickle.HIGHEST_PROTOCOL, **parts):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {part: [Datum(*image) for image in images] for part, images in parts.items()}
        with monkeypatch.context() as patched:
            for name in ("dassl", "dassl.data", "dassl.data.datasets"):
                patched.setitem(sys.modules, name, types.ModuleType(name))
            module = types.ModuleType(Datum.__module__)
            module.Datum = Datum
            patched.setitem(sys.modules, Datum.__module__, module)
            path.write_bytes(pickle.dumps(content, protocol=protocol))
        return path

    return write


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    write = f"open({str(marker)!r}, 'w').write('ran')"
    datum = b"cdassl.data.datasets.base_dataset\nDatum\n"
    return {
        "os.system": pickle.dumps({"train": [Call(os.system, f"touch {marker}")]}),
        "eval": pickle.dumps({"train": [Call(eval, write)]}),
        "exec behind the images": pickle.dumps({"train": [], "val": Call(exec, write)}),
        "of protocol 0": pickle.dumps([Call(exec, write)], protocol=0),
        "pathlib": pickle.dumps({"train": [marker]}),
        "getattr": pickle.dumps({"train": [Call(getattr, "", "join")]}),
        "Datum of another package": b"cevil\nDatum\n(lR.",
        "a name like Dassl's": b"cdasslevil.x\nDatum\n(lR.",
        "inside of Datum": b"\x80\x04\x8c\x04dassl\x8c\x17Datum.__init__.__globals__\x93.",
        "another name of Dassl's": b"cdassl.utils\nsetup_logger\n(lR.",
        "copyreg": pickle.dumps({"train": [Call(pickle.loads, b"")]}, protocol=0),
        "Datum called": datum + b"(S'/x'\ntR.",
        "Datum itself changed": datum + b"}S'__setstate__'\nS'x'\nsb.",
        "Datum's attributes set": datum + b"N}S'__class__'\nI1\ns\x86b.",
        "an image of nothing": datum + b")\x81.",
        "a state that is no dict": b"}S'train'\n(l" + datum + b")\x81S'x'\nbas.",
        "an image without a label": b"}S'train'\n(l" + datum + b")\x81}S'_impath'\nS'/x'\nsbas.",
        "a list": pickle.dumps([1, 2]),
        "no train": pickle.dumps({"val": []}),
        "an empty train": pickle.dumps({"train": []}),
        "texts": pickle.dumps({"train": ["/x/a.jpg"]}),
        "a persistent id": b"Pmine\n.",
        "cut short": pickle.dumps({"train": [1] * 99})[:-20],
        "nested without end": b"(" * 100_000 + b"l" * 100_000 + b".",
        "nothing": b"",
        "an image file": b"\x89PNG\r\n\x1a\n",
    }
