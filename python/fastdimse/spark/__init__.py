"""Events and messages in Spark: functions for ``mapInArrow``, and a data source.

:func:`encode` and :func:`decode` return functions for ``DataFrame.mapInArrow``, and
:func:`message_type` returns the schema of their results. :class:`DimseDataSource` is the format
``"dimse"`` of ``spark.read`` and ``df.write``.
"""

try:
    import pyarrow  # noqa: F401
    import pyspark.sql.datasource  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastdimse.spark needs PySpark 4 and pyarrow: pip install "fastdimse[spark]"',
        name=error.name,
    ) from error

from fastdimse.spark.functions import decode, encode, message_type
from fastdimse.spark.source import DimseDataSource

__all__ = ["DimseDataSource", "decode", "encode", "message_type"]
