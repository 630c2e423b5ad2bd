"""`N_EVENT_REPORT` and `N_ACTION` behave as pynetdicom's classes, for any operations."""

import copy
import gc
import io
import pickle
import re
import struct
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom._validators import validate_ui

from fastdimse import EncodeError
from oracle import Outcome, encode_command_set, encode_p_data, keep_configuration, observe
from services import CLASSES, EACH_ATTRIBUTE, EACH_SERVICE, SERVICES, Service
from strategies import Stream, max_pdu_lengths, uids, unsigned_shorts, values_of

# Subclasses: the same body for all base classes.


def _of_base(base: type) -> Service:
    return next(service for service in SERVICES if base in service.classes)


def _plain(base: type) -> type:
    return base


def _fewer_keywords(base: type) -> type:
    class Fewer(base):
        REQUEST_KEYWORDS = ("MessageID",)
        RESPONSE_KEYWORDS = ("Status",)

    Fewer.__name__ = Fewer.__qualname__ = base.__name__
    return Fewer


def _unknown_keyword(base: type) -> type:
    class WITH_UNDER_SCORES(base):
        REQUEST_KEYWORDS = ("MessageID", "NoSuchAttribute")
        RESPONSE_KEYWORDS = None

    return WITH_UNDER_SCORES


def _keywords_as_properties(base: type) -> type:
    type_id = _of_base(base).type_id

    class Listed(base):
        RESPONSE_KEYWORDS: list[str] = []  # noqa: RUF012 - a list on purpose

        @property
        def REQUEST_KEYWORDS(self) -> tuple[str, ...]:
            return (type_id,) if self.Status is None else ("Status", "ErrorComment")

    return Listed


def _numbered(base: type) -> type:
    class Numbered(base):
        @property
        def MessageID(self) -> int:
            return 4711

        @MessageID.setter
        def MessageID(self, value: Any) -> None:
            self.asked_for = value

    return Numbered


def _prefixed(base: type) -> type:
    class Prefixed(base):
        @property
        def AffectedSOPInstanceUID(self) -> Any:
            uid = super().AffectedSOPInstanceUID
            return None if uid is None else UID("1.2." + uid)

        @AffectedSOPInstanceUID.setter
        def AffectedSOPInstanceUID(self, value: Any) -> None:
            base.AffectedSOPInstanceUID.__set__(self, value)

    return Prefixed


def _initialised(base: type) -> type:
    class Initialised(base):
        def __init__(self, number: int = 3, **attributes: Any) -> None:
            super().__init__()
            self.MessageID = number
            self.Status = 0
            self.note = "kept"

    return Initialised


def _recording(base: type) -> type:
    class Recording(base):
        def __setattr__(self, name: str, value: Any) -> None:
            names = self.__dict__.setdefault("names", [])
            if not name.startswith("_"):
                names.append(name)
            super().__setattr__(name, value)

    return Recording


def _without_comment(base: type) -> type:
    class WithoutComment(base):
        @property
        def ErrorComment(self) -> Any:
            raise AttributeError("no comment")

        @ErrorComment.setter
        def ErrorComment(self, value: Any) -> None:
            pass

    return WithoutComment


def _answering_anything(base: type) -> type:
    class Answering(base):
        def __getattr__(self, name: str) -> str:
            if name.startswith("__"):
                raise AttributeError(name)
            return f"no {name}"

    return Answering


def _wrong_types(base: type) -> type:
    class Wrong(base):
        @property
        def Status(self) -> str:
            return "0000H"

    no_stream = property(lambda self: b"no stream", lambda self, value: None)
    setattr(Wrong, _of_base(base).information, no_stream)
    return Wrong


SUBCLASSES = [
    _plain,
    _fewer_keywords,
    _unknown_keyword,
    _keywords_as_properties,
    _numbered,
    _prefixed,
    _initialised,
    _recording,
    _without_comment,
    _answering_anything,
    _wrong_types,
]


# pynetdicom's configuration.


def _reject(value: UID) -> tuple[bool, str]:
    return False, f"{type(value).__name__} {value!r} is refused"


def _fail(value: UID) -> tuple[bool, str]:
    raise RuntimeError(f"no judgement of {value!r}")


VALIDATORS: list[Any] = [
    validate_ui,
    validate_ui,
    lambda value: (True, ""),
    lambda value: [1, None],
    lambda value: (0, None),
    lambda value: None,
    lambda value: (True, "", ""),
    lambda value: ("yes", "no"),
    _reject,
    _fail,
    "not callable",
]
CODECS = [("ascii",), ("utf8",), ("ascii", "latin-1"), ("utf-16",), ("no such codec",)]


def _configure(enforced: bool, validator: Any, codecs: tuple[str, ...]) -> None:
    _config.ENFORCE_UID_CONFORMANCE = enforced
    _config.VALIDATORS["UI"] = validator
    _config.CODECS = codecs


configurations = st.tuples(
    st.booleans(), st.sampled_from(VALIDATORS), st.just(("ascii",)) | st.sampled_from(CODECS)
)


# Operations: functions of the primitive that return a value to compare.

Operation = tuple[str, tuple[Any, ...]]


def _same_twice(primitive: Any, name: str) -> Any:
    first, second = getattr(primitive, name), getattr(primitive, name)
    return first, first is second


def _reduced(primitive: Any, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(primitive, protocol))


def _class_of_decoded(primitive: Any) -> str:
    return type(primitive).__name__


def _extra(primitive: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(primitive).items() if name in EXTRA_NAMES}


def _init(primitive: Any, *args: Any) -> None:
    type(primitive).__init__(primitive, *args)


# Without _dataset_path, by which pynetdicom sends the data set of a C-STORE from a file.
EXTRA_NAMES = ["extra", "note", "asked_for", "names", "Priority", "_context_id"]
CALLS: dict[str, Callable[..., Any]] = {
    "set": setattr,
    "get": getattr,
    "get twice": _same_twice,
    "delete": delattr,
    "has": hasattr,
    "extra attributes": _extra,
    "init": _init,
    "class name": _class_of_decoded,
    "true": bool,
    "own hash": lambda primitive: hash(primitive) == object.__hash__(primitive),
    "equals itself": lambda primitive: (primitive == primitive, primitive != primitive),
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": _reduced,
    "configure": lambda primitive, *configuration: _configure(*configuration),
}
REPLACING = {"copy", "deep copy", "pickle"}
"""Operations that return the primitive for the next operation."""

judgements = st.sampled_from(["is_valid_request", "is_valid_response", "msg_type"])
extra_names = st.sampled_from(EXTRA_NAMES)


def operations(service: Service) -> st.SearchStrategy[Operation]:
    """Operations on the primitives of a service."""
    attribute_names = st.sampled_from(list(service.attributes))
    keyword_tuples = st.lists(attribute_names | st.just("nothing"), max_size=3).map(tuple)
    settings_of_attributes = attribute_names.flatmap(
        lambda name: st.tuples(st.just("set"), st.tuples(st.just(name), values_of(name)))
    )
    return st.one_of(
        settings_of_attributes,
        settings_of_attributes,
        settings_of_attributes,
        st.tuples(st.just("get twice"), st.tuples(attribute_names)),
        st.tuples(st.sampled_from(["get", "set judgement"]), st.tuples(judgements)).map(
            lambda drawn: ("get", drawn[1]) if drawn[0] == "get" else ("set", (*drawn[1], True))
        ),
        st.tuples(st.just("encode"), st.tuples(max_pdu_lengths)),
        st.tuples(st.just("delete"), st.tuples(attribute_names | extra_names | judgements)),
        st.tuples(st.just("has"), st.tuples(attribute_names | extra_names)),
        st.tuples(
            st.just("set"),
            st.tuples(extra_names, st.sampled_from([None, 1, "x", io.BytesIO(b"x")])),
        ),
        st.tuples(
            st.just("set"),
            st.tuples(st.sampled_from(["REQUEST_KEYWORDS", "RESPONSE_KEYWORDS"]), keyword_tuples),
        ),
        st.tuples(st.just("init"), st.just(()) | st.just((1,))),
        st.tuples(st.just("configure"), configurations),
        st.sampled_from(
            [(name, ()) for name in ("extra attributes", "class name", "true", "copy", "deep copy")]
            + [(name, ()) for name in ("own hash", "equals itself")]
            + [("pickle", (protocol,)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        ),
    )


OPERATIONS = {str(service): operations(service) for service in SERVICES}


def _apply(operation: Operation, primitive: Any) -> Outcome:
    name, args = operation
    return observe(CALLS[name], primitive, *args)


def in_one_order(outcome: Outcome) -> Outcome:
    """Return the outcome with its logs and warnings sorted."""
    logs, warnings = sorted(outcome.logs, key=str), sorted(outcome.warnings, key=str)
    return replace(outcome, logs=tuple(logs), warnings=tuple(warnings))


ADDRESS = re.compile(r"0x[0-9a-f]+")


class Comparison:
    """The two primitives, and the values that were set.

    Attributes
    ----------
    ours, oracle : object
        Primitives of fastdimse and of pynetdicom.
    """

    def __init__(self, make: Callable[[type], type], service: Service) -> None:
        self.service = service
        self.ours, self.oracle = make(service.ours)(), make(service.oracle)()
        self.given: set[int] = set()

    def apply(self, operation: Operation) -> None:
        """Apply an operation to both, and compare everything observable."""
        name, args = operation
        if name == "encode":
            self.encode(*args)
            return
        self.given.update(id(arg) for arg in args)
        ours, oracle = _apply(operation, self.ours), _apply(operation, self.oracle)
        if name in REPLACING:
            # pynetdicom's copies warn about UIDs in the order in which they were set.
            ours, oracle = in_one_order(ours), in_one_order(oracle)
        assert self.shown(ours) == self.shown(oracle)
        if name in REPLACING and oracle.raised is None:
            assert type(ours.value) is type(self.ours)
            assert type(oracle.value) is type(self.oracle)
            self.ours, self.oracle = ours.value, oracle.value
        else:
            self.same(ours.value, oracle.value)

    def encode(self, max_pdu_length: int) -> None:
        """Encode both: the bytes are equal, or both raise."""
        if not hasattr(self.oracle, "MessageIDBeingRespondedTo"):
            return
        oracle = observe(encode_p_data, self.oracle, 3, max_pdu_length)
        ours = observe(self.ours.encode_p_data, 3, max_pdu_length)
        is_response = self.oracle.MessageIDBeingRespondedTo is not None
        if is_response and isinstance(getattr(self.oracle, "ErrorComment", None), np.ndarray):
            # pydicom writes the memory of the numbers.
            assert isinstance(ours.raised, ValueError | TypeError)
        elif oracle.raised is None:
            assert (ours.value, ours.error) == (oracle.value, None)
            # pydicom warns here too, with values that some test reporters cannot print.
            command_set = observe(encode_command_set, self.oracle)
            assert observe(self.ours.encode_command_set).value == command_set.value is not None
            event("encoded")
        else:
            assert isinstance(ours.raised, ValueError | TypeError), oracle.error
            event("refused to encode")

    def shown(self, outcome: Outcome) -> tuple[Any, ...]:
        """Return errors, logs and warnings as text, without the modules of the classes."""
        error = outcome.error
        if error is not None:
            text = re.sub(r"fastdimse\._primitive|pynetdicom\.dimse_primitives", "MODULE", error[1])
            error = error[0], text
        return error, outcome.logs, outcome.warnings

    def same(self, ours: Any, oracle: Any) -> None:
        """Return whether type and value are equal; a value that was set must be the same object."""
        assert type(ours) is type(oracle)
        if isinstance(oracle, tuple | list) and type(oracle) in (tuple, list):
            assert len(ours) == len(oracle)
            for one, other in zip(ours, oracle, strict=True):
                self.same(one, other)
        elif isinstance(oracle, dict):
            assert list(ours) == list(oracle)
            self.same(list(ours.values()), list(oracle.values()))
        elif id(oracle) in self.given or id(ours) in self.given:
            assert ours is oracle
        elif isinstance(oracle, io.BytesIO):
            assert ours.closed == oracle.closed
            if not oracle.closed:
                assert (ours.getvalue(), ours.tell()) == (oracle.getvalue(), oracle.tell())
        elif isinstance(oracle, UID):
            assert str(ours) == str(oracle)
            assert vars(ours) == vars(oracle)
        else:
            assert ADDRESS.sub("", repr(ours)) == ADDRESS.sub("", repr(oracle))

    def compare_attributes(self) -> None:
        """Compare all attributes."""
        for name in [*self.service.attributes, "is_valid_request", "is_valid_response", "msg_type"]:
            self.apply(("get twice", (name,)))


@EACH_SERVICE
@given(
    make=st.sampled_from([_plain, *SUBCLASSES]),
    configuration=st.just((False, validate_ui, ("ascii",))) | configurations,
    data=st.data(),
)
def test_any_operations(
    service: Service, make: Any, configuration: Any, data: st.DataObject
) -> None:
    steps = data.draw(st.lists(OPERATIONS[str(service)], max_size=12))
    with keep_configuration():
        _configure(*configuration)
        compared = Comparison(make, service)
        for step in steps:
            compared.apply(step)
        compared.compare_attributes()


@EACH_ATTRIBUTE
@given(data=st.data())
def test_set_an_attribute(service: Service, name: str, data: st.DataObject) -> None:
    with keep_configuration():
        _configure(*data.draw(st.just((False, validate_ui, ("ascii",))) | configurations))
        compared = Comparison(_plain, service)
        compared.apply(("set", (name, data.draw(values_of(name)))))
        compared.compare_attributes()


@pytest.mark.parametrize("identified_by", ["MessageID", "MessageIDBeingRespondedTo"])
@EACH_ATTRIBUTE
@given(data=st.data())
def test_encode_with_one_odd_attribute(
    identified_by: str, service: Service, name: str, data: st.DataObject
) -> None:
    compared = Comparison(_plain, service)
    compared.apply(("set", (identified_by, 7)))
    for usual in service.attributes:
        if usual.endswith("UID"):
            compared.apply(("set", (usual, data.draw(uids))))
    compared.apply(("set", (service.type_id, data.draw(unsigned_shorts))))
    compared.apply(("set", (name, data.draw(values_of(name)))))
    compared.encode(data.draw(max_pdu_lengths))


@pytest.mark.parametrize("uid", ["1 \\2", "0 \\", " 1\\ 2 \\", "\x1c1\\\t2 ", "\\", "1\0\\2"])
@EACH_SERVICE
def test_encode_several_values_in_one_uid(service: Service, uid: str) -> None:
    """pydicom strips each of them."""
    ours, oracle = service.ours(), service.oracle()
    for one in (ours, oracle):
        one.MessageIDBeingRespondedTo, one.Status = 7, 0
        one.AffectedSOPClassUID = one.AffectedSOPInstanceUID = uid
    assert ours.encode_p_data(3, 16382) == encode_p_data(oracle, 3, 16382)


@EACH_SERVICE
def test_an_array_of_numbers_is_no_comment(service: Service) -> None:
    message = service.ours()
    message.MessageIDBeingRespondedTo, message.Status = 7, 0x0110
    message.ErrorComment = np.array([1, 2], dtype="uint16")
    with pytest.raises(EncodeError, match=r"ErrorComment: array.* is not a str of at most 64"):
        message.encode_p_data(3, 16382)


@pytest.mark.parametrize("make", SUBCLASSES)
@pytest.mark.parametrize("operation", ["copy", "deep copy", *range(pickle.HIGHEST_PROTOCOL + 1)])
@EACH_SERVICE
def test_copies_are_complete(service: Service, make: Any, operation: str | int) -> None:
    compared = Comparison(make, service)
    for name, value in {
        "MessageID": True,
        "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        "AffectedSOPInstanceUID": "not conformant",
        service.sop_class: "1.2.840.10008.1.20.1",
        service.sop_instance: "not conformant either",
        service.type_id: 2**70,
        service.information: Stream(b"data set"),
        "ErrorComment": ["a", "b"],
        "ErrorID": "x",
        "extra": [1, 2],
        "_context_id": 5,
    }.items():
        compared.apply(("set", (name, value)))
    step = ("pickle", (operation,)) if isinstance(operation, int) else (operation, ())
    compared.apply(step)
    compared.compare_attributes()
    compared.apply(("extra attributes", ()))


@EACH_SERVICE
def test_pickle_of_an_unread_uid_is_a_uid(service: Service) -> None:
    primitive = service.ours()
    setattr(primitive, service.sop_class, "1.2.840.10008.1.20.1")
    copied = getattr(pickle.loads(pickle.dumps(primitive)), service.sop_class)
    assert type(copied) is UID
    assert copied == "1.2.840.10008.1.20.1"


@EACH_SERVICE
def test_state_has_pynetdicoms_names(service: Service) -> None:
    primitives = service.ours(), service.oracle()
    for primitive in primitives:
        for name in service.attributes:
            if name.endswith("UID"):
                setattr(primitive, name, "1.2.3")
            elif name not in service.streams:
                setattr(primitive, name, 1)
        setattr(primitive, service.information, io.BytesIO())
    ours, oracle = (set(primitive.__getstate__()) for primitive in primitives)
    assert ours == oracle


@pytest.mark.parametrize(
    "name", ["STATUS_OPTIONAL_KEYWORDS", "REQUEST_KEYWORDS", "RESPONSE_KEYWORDS", "__name__"]
)
@EACH_SERVICE
def test_class_attributes(service: Service, name: str) -> None:
    assert getattr(service.ours, name) == getattr(service.oracle, name)
    assert type(getattr(service.ours, name)) is type(getattr(service.oracle, name))


@EACH_SERVICE
def test_properties_are_documented(service: Service) -> None:
    assigned = {"ErrorComment", "ErrorID"}
    for name in {*service.attributes, "is_valid_request", "is_valid_response", "msg_type"}:
        ours = getattr(service.ours, name)
        assert ours.__doc__
        assert hasattr(ours, "__get__")
        # pynetdicom has no property for these two.
        assert hasattr(service.oracle, name) == (name not in assigned)


@EACH_SERVICE
def test_public_names(service: Service) -> None:
    ours, oracle = ({name for name in dir(cls()) if name[0] != "_"} for cls in service.classes)
    assert ours - oracle == {"decode_command_set", "encode_command_set", "encode_p_data"}
    assert oracle <= ours


@pytest.mark.parametrize("keywords", ["REQUEST_KEYWORDS", "RESPONSE_KEYWORDS"])
@CLASSES
def test_keywords_patched_on_the_class(
    service: Service, cls: type, keywords: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, keywords, (service.type_id,))
    judgement = "is_valid_request" if keywords == "REQUEST_KEYWORDS" else "is_valid_response"
    primitive = cls()
    assert getattr(primitive, judgement) is False
    setattr(primitive, service.type_id, 0)
    assert getattr(primitive, judgement) is True


@pytest.mark.parametrize("args", [(1,), (None, None)])
@EACH_SERVICE
def test_constructor_takes_no_arguments(service: Service, args: tuple[Any, ...]) -> None:
    ours, oracle = observe(service.ours, *args), observe(service.oracle, *args)
    assert ours.error == oracle.error


@EACH_SERVICE
def test_unknown_keywords_have_pynetdicoms_error(service: Service) -> None:
    ours, oracle = (observe(lambda cls=cls: cls(Priority=1)) for cls in service.classes)
    assert ours.error == oracle.error


@EACH_SERVICE
def test_misspelt_keywords_name_the_nearest(service: Service) -> None:
    misspelt = service.sop_class.replace("SOPClass", "SopClas")
    with pytest.raises(TypeError) as caught:
        service.ours(MessageID=1, **{misspelt: "1.2"})
    with pytest.raises(TypeError) as expected:
        service.oracle(**{misspelt: "1.2"})
    assert str(caught.value) == f"{expected.value}. Did you mean '{service.sop_class}'?"


@EACH_SERVICE
@given(data=st.data())
def test_keywords_of_the_constructor_set_attributes(service: Service, data: st.DataObject) -> None:
    """The oracle sets the attributes one by one: the same values, or the same first exception."""
    names = data.draw(st.lists(st.sampled_from(list(service.attributes)), unique=True))
    values = {name: data.draw(values_of(name)) for name in names}

    def set_one_by_one() -> Any:
        primitive = service.oracle()
        for name, value in values.items():
            setattr(primitive, name, value)
        return primitive

    ours, oracle = observe(lambda: service.ours(**values)), observe(set_one_by_one)
    compared = Comparison(_plain, service)
    assert compared.shown(ours) == compared.shown(oracle)
    if oracle.raised is None:
        compared.given.update(id(value) for value in values.values())
        compared.ours, compared.oracle = ours.value, oracle.value
        compared.compare_attributes()


@EACH_SERVICE
def test_keywords_of_a_subclass_use_its_attributes(service: Service) -> None:
    primitive = _numbered(service.ours)(MessageID=7)
    assert (primitive.MessageID, primitive.asked_for) == (4711, 7)


@EACH_SERVICE
def test_an_unknown_keyword_changes_nothing(service: Service) -> None:
    primitive = service.ours(Status=3)
    with pytest.raises(TypeError):
        primitive.__init__(Status=4, Unknown=5)
    assert primitive.Status == 3


@EACH_SERVICE
def test_a_decoded_data_set_becomes_one_stream_when_it_is_read(service: Service) -> None:
    command_set = service.ours(MessageID=1, **{service.information: io.BytesIO(b"x")})
    encoded = command_set.encode_command_set()
    data_set = b"0123456789"
    primitive = service.ours.decode_command_set(encoded, data_set)
    unread = primitive.encode_p_data()
    copied = pickle.loads(pickle.dumps(primitive))
    stream = getattr(primitive, service.information)
    assert type(stream) is io.BytesIO
    assert stream is getattr(primitive, service.reply)
    assert (stream.getvalue(), stream.tell()) == (data_set, 0)
    assert unread == primitive.encode_p_data() == copied.encode_p_data()
    stream.write(b"new")
    assert data_set == b"0123456789"
    assert primitive.encode_p_data().endswith(b"\x02new3456789")


@EACH_SERVICE
def test_a_decoded_data_set_can_be_replaced_unread(service: Service) -> None:
    encoded = service.ours(
        MessageID=1, **{service.information: io.BytesIO(b"x")}
    ).encode_command_set()
    for value in (None, io.BytesIO(b"other")):
        primitive = service.ours.decode_command_set(encoded, b"x")
        setattr(primitive, service.information, value)
        assert getattr(primitive, service.information) is value


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="sizes are CPython's")
@EACH_SERVICE
def test_size_of_a_primitive(service: Service) -> None:
    """One word for each of seven objects, two for each of four UIDs, and two others."""
    word = struct.calcsize("P")

    class Empty:
        pass

    assert sys.getsizeof(service.ours()) <= sys.getsizeof(Empty()) + (7 + 2 * 4 + 2) * word


@EACH_ATTRIBUTE
def test_without_init(service: Service, name: str) -> None:
    ours, oracle = (observe(getattr, cls.__new__(cls), name) for cls in service.classes)
    assert ours.error == oracle.error


@EACH_SERVICE
def test_representation(service: Service) -> None:
    ours, oracle = (ADDRESS.sub("", repr(cls())).split(".")[-1] for cls in service.classes)
    assert ours == oracle


@EACH_SERVICE
def test_base_classes_are_not_created(service: Service) -> None:
    shared = service.ours.__mro__[2]
    with pytest.raises(TypeError, match="cannot create"):
        shared()


@CLASSES
def test_weak_reference(service: Service, cls: type) -> None:
    primitive = cls()
    reference = weakref.ref(primitive)
    assert reference() is primitive
    del primitive
    assert reference() is None


@pytest.mark.parametrize("name", ["extra", "ErrorComment", "ErrorID"])
@CLASSES
def test_cycles_are_collected(service: Service, cls: type, name: str) -> None:
    primitive = cls()
    setattr(primitive, name, [primitive])
    reference = weakref.ref(primitive)
    del primitive
    gc.collect()
    assert reference() is None


@CLASSES
def test_cycle_through_the_stream_is_collected(service: Service, cls: type) -> None:
    primitive = cls()
    stream = Stream()
    stream.primitive = primitive  # type: ignore[attr-defined]
    setattr(primitive, service.information, stream)
    reference = weakref.ref(primitive)
    del primitive, stream
    gc.collect()
    assert reference() is None


@CLASSES
def test_values_are_not_leaked(service: Service, cls: type) -> None:
    stream, number = io.BytesIO(), int("70000")
    before = sys.getrefcount(stream), sys.getrefcount(number)
    for _ in range(100):
        primitive = cls()
        setattr(primitive, service.information, stream)
        setattr(primitive, service.reply, stream)
        setattr(primitive, service.type_id, number)
        primitive.Status = number
        copy.copy(primitive)
    del primitive
    assert (sys.getrefcount(stream), sys.getrefcount(number)) == before


@CLASSES
def test_finalizer_of_a_value_uses_the_primitive(service: Service, cls: type) -> None:
    primitive = cls()
    seen = []

    class Comment:
        def __del__(self) -> None:
            seen.append(primitive.ErrorComment)
            primitive.ErrorID = 1

    primitive.ErrorComment = Comment()
    primitive.ErrorComment = "new"
    assert seen == ["new"]
    assert primitive.ErrorID == 1


@CLASSES
def test_validator_reads_the_primitive(service: Service, cls: type) -> None:
    primitive = cls()
    setattr(primitive, service.sop_class, "1.2.3")
    seen = []

    def validate(uid: UID) -> tuple[bool, str]:
        seen.append(getattr(primitive, service.sop_class))
        primitive.MessageID = 5
        return True, ""

    _config.VALIDATORS["UI"] = validate
    setattr(primitive, service.sop_class, "1.2.4")
    assert (seen, primitive.MessageID) == (["1.2.3"], 5)


@EACH_SERVICE
def test_position_of_streams_is_kept(service: Service) -> None:
    stream = io.BytesIO(b"0123456789")
    stream.seek(5)
    primitive = service.ours()
    primitive.MessageID = 1
    setattr(primitive, service.information, stream)
    assert primitive.encode_p_data().endswith(b"\x020123456789")
    assert stream.tell() == 5


@pytest.mark.parametrize("max_pdu_length", [-1, 1, 6, 2**32, 2**70])
@EACH_SERVICE
def test_max_pdu_length_without_room(service: Service, max_pdu_length: int) -> None:
    primitive = service.ours()
    primitive.MessageID = 1
    with pytest.raises((ValueError, OverflowError), match=r"(?i)pdu|large|big"):
        primitive.encode_p_data(1, max_pdu_length)


@pytest.mark.parametrize("context_id", [-1, 256, 2**70])
@EACH_SERVICE
def test_context_id_of_more_than_a_byte(service: Service, context_id: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        service.ours().encode_p_data(context_id)


@pytest.mark.parametrize("name", ["type_id", "Status", "ErrorID"])
@pytest.mark.parametrize("value", [-1, 65536, 2**70])
@EACH_SERVICE
def test_encode_error_names_field_and_value(service: Service, name: str, value: int) -> None:
    name = getattr(service, name, name)
    primitive = service.ours()
    primitive.MessageIDBeingRespondedTo = 1
    setattr(primitive, name, value)
    with pytest.raises(EncodeError, match=name) as caught:
        primitive.encode_command_set()
    assert caught.value.field == name
    assert caught.value.row is None
    assert str(65535) in str(caught.value)
