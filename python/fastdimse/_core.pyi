"""Types of the extension module, which is written in Rust (rust/python)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address
from os import PathLike
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar, final, type_check_only

from _typeshed import ReadableBuffer
from pydicom.uid import UID
from typing_extensions import disjoint_base

from fastdimse._primitive import N_EVENT_REPORT

__all__ = [
    "TLS",
    "Association",
    "AssociationError",
    "CapturedEvents",
    "ColumnError",
    "DIMSEPrimitive",
    "DecodeError",
    "DecodedDataSets",
    "DecodedEvents",
    "EncodeError",
    "EncodedBatches",
    "EncodedCapture",
    "EncodedEvents",
    "EventBatch",
    "EventBatches",
    "EventError",
    "Fault",
    "Faults",
    "Listener",
    "Offsets",
    "OutcomeBatches",
    "Outcomes",
    "Peer",
    "ReceivedEvents",
    "Rejection",
    "Rejections",
    "__version__",
    "check_event",
    "connect",
    "decode_capture",
    "decode_data_sets",
    "decode_events",
    "describe_status",
    "echo",
    "encode_batches",
    "encode_capture",
    "encode_events",
    "event_batches",
    "frame_message",
    "listen",
    "read_message",
    "register_primitive",
    "standard_sop_classes",
    "standard_statuses",
    "status_category",
    "validate_events",
]

__version__: str

# What users pass.

@type_check_only
class _ArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

@type_check_only
class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

class _ArrowSchema(Protocol):
    def __arrow_c_schema__(self) -> Any: ...

@type_check_only
class _Scanner(Protocol):
    def to_reader(self) -> Any: ...

@type_check_only
class _Dataset(Protocol):
    def scanner(self) -> Any: ...

@type_check_only
class _LazyFrame(Protocol):
    def collect(self) -> Any: ...

_Events: TypeAlias = (
    _ArrowArray
    | _ArrowStream
    | Mapping[str, Any]
    | Iterable[Any]
    | _Scanner
    | _Dataset
    | _LazyFrame
)
_DataSets: TypeAlias = _ArrowArray | _ArrowStream | Iterable[ReadableBuffer | None]
_TransferSyntaxes: TypeAlias = _ArrowArray | _ArrowStream | Iterable[str | None]
_Framing: TypeAlias = Literal["p-data", "command-set"]
_OnInvalid: TypeAlias = Literal["raise", "skip"]
_OtherColumns: TypeAlias = Literal["raise", "ignore"]
_DataSetForm: TypeAlias = Literal["binary", "structured"] | _ArrowSchema
_Address: TypeAlias = str | IPv4Address | IPv6Address

# Exceptions.

class EventError(ValueError):
    row: int | None
    field: str | None
    code: str
    reason: str
    offset: int | None

class EncodeError(EventError): ...

class DecodeError(EventError):
    events: DecodedEvents | CapturedEvents | None
    stream: int | None
    frame: int | None

class AssociationError(ConnectionError):
    code: str
    permanent: bool

class ColumnError(ValueError):
    column: str

# The primitive.

@disjoint_base
class DIMSEPrimitive:
    def __init__(self) -> None: ...
    @property
    def MessageID(self) -> int | None: ...
    @MessageID.setter
    def MessageID(self, value: int | None) -> None: ...
    @property
    def MessageIDBeingRespondedTo(self) -> int | None: ...
    @MessageIDBeingRespondedTo.setter
    def MessageIDBeingRespondedTo(self, value: int | None) -> None: ...
    @property
    def AffectedSOPClassUID(self) -> UID | None: ...
    @AffectedSOPClassUID.setter
    def AffectedSOPClassUID(self, value: str | bytes | None) -> None: ...
    @property
    def AffectedSOPInstanceUID(self) -> UID | None: ...
    @AffectedSOPInstanceUID.setter
    def AffectedSOPInstanceUID(self, value: str | bytes | None) -> None: ...
    @property
    def EventTypeID(self) -> int | None: ...
    @EventTypeID.setter
    def EventTypeID(self, value: int | None) -> None: ...
    @property
    def EventInformation(self) -> BytesIO | None: ...
    @EventInformation.setter
    def EventInformation(self, value: BytesIO | None) -> None: ...
    @property
    def EventReply(self) -> BytesIO | None: ...
    @EventReply.setter
    def EventReply(self, value: BytesIO | None) -> None: ...
    @property
    def Status(self) -> int | None: ...
    @Status.setter
    def Status(self, value: int | None) -> None: ...
    @property
    def ErrorComment(self) -> Any: ...
    @ErrorComment.setter
    def ErrorComment(self, value: Any) -> None: ...
    @ErrorComment.deleter
    def ErrorComment(self) -> None: ...
    @property
    def ErrorID(self) -> Any: ...
    @ErrorID.setter
    def ErrorID(self, value: Any) -> None: ...
    @ErrorID.deleter
    def ErrorID(self) -> None: ...
    @property
    def is_valid_request(self) -> bool: ...
    @property
    def is_valid_response(self) -> bool: ...
    @property
    def msg_type(self) -> str: ...
    def encode_command_set(self) -> bytes: ...
    def encode_p_data(self, context_id: int = 1, max_pdu_length: int = 16382) -> bytes: ...
    @classmethod
    def decode_command_set(
        cls, command_set: ReadableBuffer, data_set: ReadableBuffer | BytesIO | None = None
    ) -> Self: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

_T = TypeVar("_T", bound=type[DIMSEPrimitive])

def register_primitive(cls: _T) -> _T: ...
def read_message(command_set: bytes) -> tuple[Any, bool] | None: ...
def frame_message(
    command_set: bytes, data_set: bytes, context_id: int, max_pdu_length: int
) -> list[bytes]: ...

# Results that other results contain.

@final
class Rejection:
    @property
    def row(self) -> int | None: ...
    @property
    def field(self) -> str | None: ...
    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def offset(self) -> int | None: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Rejections:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Rejection: ...
    def __iter__(self) -> Iterator[Rejection]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class Offsets:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def tolist(self) -> list[int]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

# Many messages in one call.

@final
class EncodedEvents:
    @property
    def nbytes(self) -> int: ...
    @property
    def offsets(self) -> Offsets: ...
    @property
    def rejected(self) -> Rejections: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> memoryview: ...
    def __iter__(self) -> Iterator[memoryview]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

@final
class EncodedBatches:
    def __iter__(self) -> Self: ...
    def __next__(self) -> EncodedEvents: ...

@final
class DecodedEvents:
    @property
    def offsets(self) -> Offsets: ...
    @property
    def rejected(self) -> Rejections: ...
    @property
    def skipped(self) -> dict[str, int]: ...
    @property
    def omitted(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> N_EVENT_REPORT: ...
    def __iter__(self) -> Iterator[N_EVENT_REPORT]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class DecodedDataSets:
    @property
    def rejected(self) -> Rejections: ...
    @property
    def omitted(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

def encode_events(
    events: _Events,
    *,
    context_id: int = 1,
    max_pdu_length: int = 16382,
    framing: _Framing = "p-data",
    on_invalid: _OnInvalid = "raise",
    enforce_uid_conformance: bool = True,
    transfer_syntax: str = "1.2.840.10008.1.2",
    other_columns: _OtherColumns = "raise",
    first_row: int = 0,
    threads: int = 1,
) -> EncodedEvents: ...
def encode_batches(
    events: _Events,
    *,
    batch_size: int = 65536,
    context_id: int = 1,
    max_pdu_length: int = 16382,
    framing: _Framing = "p-data",
    on_invalid: _OnInvalid = "raise",
    enforce_uid_conformance: bool = True,
    transfer_syntax: str = "1.2.840.10008.1.2",
    other_columns: _OtherColumns = "raise",
    first_row: int = 0,
    threads: int = 1,
) -> EncodedBatches: ...
def validate_events(
    events: _Events,
    *,
    check: Literal["form", "standard"] = "form",
    enforce_uid_conformance: bool = True,
    transfer_syntax: str = "1.2.840.10008.1.2",
    other_columns: _OtherColumns = "raise",
    first_row: int = 0,
    threads: int = 1,
) -> Rejections: ...
def decode_events(
    data: ReadableBuffer,
    *,
    framing: _Framing = "p-data",
    on_invalid: _OnInvalid = "raise",
    event_information: _DataSetForm | None = None,
    event_reply: _DataSetForm | None = None,
    transfer_syntax: str = "1.2.840.10008.1.2",
    threads: int = 1,
) -> DecodedEvents: ...
def decode_data_sets(
    data_sets: _DataSets,
    schema: _ArrowSchema | None = None,
    *,
    transfer_syntax: str | _TransferSyntaxes | None = None,
    on_invalid: _OnInvalid = "raise",
) -> DecodedDataSets: ...

@final
class EventBatch:
    @property
    def first_row(self) -> int: ...
    @property
    def rejected(self) -> Rejections: ...
    @staticmethod
    def from_ipc(stream: bytes) -> EventBatch: ...
    def to_ipc(self) -> bytes: ...
    def take(self, rows: list[int]) -> EventBatch: ...
    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class EventBatches:
    def __iter__(self) -> Self: ...
    def __next__(self) -> EventBatch: ...

def event_batches(
    events: _Events, *, batch_size: int = 4096, other_columns: _OtherColumns = "raise"
) -> EventBatches: ...

# Captures.

@final
class Fault:
    @property
    def stream(self) -> int | None: ...
    @property
    def source(self) -> str | None: ...
    @property
    def destination(self) -> str | None: ...
    @property
    def frame(self) -> int | None: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def field(self) -> str | None: ...
    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Faults:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Fault: ...
    def __iter__(self) -> Iterator[Fault]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class CapturedEvents:
    @property
    def faults(self) -> Faults: ...
    @property
    def skipped(self) -> dict[str, int]: ...
    @property
    def omitted(self) -> dict[str, int]: ...
    @property
    def packets(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def associations(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[N_EVENT_REPORT | None, N_EVENT_REPORT | None]: ...
    def __iter__(self) -> Iterator[tuple[N_EVENT_REPORT | None, N_EVENT_REPORT | None]]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class EncodedCapture:
    @property
    def nbytes(self) -> int: ...
    @property
    def packets(self) -> int: ...
    @property
    def associations(self) -> int: ...
    @property
    def rejected(self) -> Rejections: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def decode_capture(
    data: ReadableBuffer,
    *,
    on_invalid: _OnInvalid = "skip",
    event_information: _DataSetForm | None = None,
    event_reply: _DataSetForm | None = None,
) -> CapturedEvents: ...
def encode_capture(
    events: _Events,
    *,
    format: Literal["pcap", "pcapng"] = "pcap",
    calling_ae: str = "EVENT-SCP",
    called_ae: str = "EVENT-SCU",
    source: _Address | tuple[_Address, int] | None = None,
    destination: _Address | tuple[_Address, int] | None = None,
    transfer_syntax: str = "1.2.840.10008.1.2",
    max_pdu_length: int = 16382,
    on_invalid: _OnInvalid = "raise",
    enforce_uid_conformance: bool = True,
    other_columns: _OtherColumns = "raise",
) -> EncodedCapture: ...

# Associations.

@final
class TLS:
    def __new__(
        cls,
        *,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        ca: str | PathLike[str] | None = None,
        server_name: str | None = None,
        check_hostname: bool = True,
    ) -> Self: ...

@final
class Peer:
    def __new__(
        cls,
        host: str,
        port: int,
        *,
        called_ae: str = "ANY-SCP",
        calling_ae: str = "EVENT-SCP",
        sop_classes: Iterable[str] | None = None,
        transfer_syntaxes: Iterable[str] | None = None,
        window: int = 64,
        max_pdu_length: int = 16382,
        connection_timeout: float = 10.0,
        association_timeout: float = 30.0,
        response_timeout: float = 30.0,
        tls: TLS | bool | None = None,
        username: str | None = None,
        passcode: str | None = None,
        name: str | None = None,
    ) -> Self: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def called_ae(self) -> str: ...
    @property
    def calling_ae(self) -> str: ...
    def connect(self) -> Association: ...
    def echo(self) -> float: ...

def connect(
    host: str,
    port: int,
    *,
    called_ae: str = "ANY-SCP",
    calling_ae: str = "EVENT-SCP",
    sop_classes: Iterable[str] | None = None,
    transfer_syntaxes: Iterable[str] | None = None,
    window: int = 64,
    max_pdu_length: int = 16382,
    connection_timeout: float = 10.0,
    association_timeout: float = 30.0,
    response_timeout: float = 30.0,
    tls: TLS | bool | None = None,
    username: str | None = None,
    passcode: str | None = None,
) -> Association: ...
def echo(host: str, port: int, **options: Any) -> float: ...

@final
class Association:
    @property
    def transfer_syntaxes(self) -> dict[str, str]: ...
    @property
    def rejected_contexts(self) -> dict[str, str]: ...
    @property
    def window(self) -> int: ...
    @property
    def max_pdu_length(self) -> int: ...
    @property
    def unexpected_responses(self) -> list[str]: ...
    def send(
        self,
        events: _Events,
        *,
        transfer_syntax: str = "1.2.840.10008.1.2",
        enforce_uid_conformance: bool = True,
        other_columns: _OtherColumns = "raise",
    ) -> Outcomes: ...
    def send_batches(
        self,
        events: _Events,
        *,
        batch_size: int = 4096,
        transfer_syntax: str = "1.2.840.10008.1.2",
        enforce_uid_conformance: bool = True,
        other_columns: _OtherColumns = "raise",
    ) -> OutcomeBatches: ...
    def stop(self, *, at_once: bool = False) -> None: ...
    def release(self) -> None: ...
    def abort(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Outcomes:
    @property
    def answered(self) -> int: ...
    @property
    def failure(self) -> str | None: ...
    def to_pydict(self) -> dict[str, list[Any]]: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class OutcomeBatches:
    def __iter__(self) -> Self: ...
    def __next__(self) -> Outcomes: ...

def listen(
    port: int,
    *,
    host: str = "0.0.0.0",
    handler: Callable[[N_EVENT_REPORT, str], int | tuple[int | None, Any] | None] | None = None,
    batch_handler: Callable[[ReceivedEvents], Any] | None = None,
    sop_classes: Iterable[str] | None = None,
    called_ae: str | None = None,
    calling_aes: Iterable[str] | None = None,
    window: int = 0,
    max_pdu_length: int = 16382,
    max_message_length: int = 67108864,
    max_connections: int = 256,
    max_waiting: int = 67108864,
    association_timeout: float = 30.0,
    idle_timeout: float = 60.0,
    tls: TLS | None = None,
    authenticate: Callable[[str | None, str | None], bool] | None = None,
) -> Listener: ...

@final
class Listener:
    @property
    def port(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def take_failures(self) -> list[str]: ...
    def receive(
        self, *, timeout: float | None = None, batch_size: int = 65536, linger: float = 0.1
    ) -> ReceivedEvents | None: ...
    def close(self) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> ReceivedEvents: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class ReceivedEvents:
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

# Tables of the standard.

def standard_sop_classes() -> list[
    tuple[str, str, str, str, str, str | None, tuple[tuple[int, str, tuple[Any, ...]], ...]]
]: ...
def standard_statuses() -> list[tuple[int, str, str, bool]]: ...
def status_category(code: int) -> str: ...
def describe_status(code: int) -> str: ...
def check_event(
    sop_class_uid: str,
    sop_instance_uid: str,
    event_type_id: int,
    information: Mapping[str, Any] | None,
) -> None: ...
