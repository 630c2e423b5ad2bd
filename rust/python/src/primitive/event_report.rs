//! The attributes of `N_EVENT_REPORT` that `N_ACTION` does not have.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::primitive::class::{
    data_set, initialize, int_or_none, no_accessor, read, read_data_set, store, store_data_set,
};
use crate::primitive::slots::{DIMSEPrimitive, EventReportPrimitive, Service};

#[pymethods]
impl EventReportPrimitive {
    #[new]
    // A subclass may have an `__init__` with other arguments; `__init__` here checks them.
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(*, MessageID=None, MessageIDBeingRespondedTo=None, AffectedSOPClassUID=None, \
            AffectedSOPInstanceUID=None, EventTypeID=None, EventInformation=None, EventReply=None, \
            Status=None, ErrorComment=None, ErrorID=None)"
    )]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(DIMSEPrimitive::new(Service::EventReport)).add_subclass(Self)
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        initialize(slf.as_super(), args, kwargs)
    }

    /// Get or set the *Event Type ID* (PS3.7 10.1.1.1.5) as :class:`int`.
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     A number from 0 to 65535. The range is checked when the message is encoded.
    #[getter(EventTypeID)]
    fn event_type(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read(slf.as_super(), |slots| &mut slots.type_id)
    }

    #[setter(EventTypeID)]
    fn set_event_type(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        const TEXT: &str = "'N_EVENT_REPORT.EventTypeID' must be an int.";
        store(slf.as_super(), |slots| &mut slots.type_id, int_or_none(value, TEXT)?)
    }

    #[deleter(EventTypeID)]
    fn delete_event_type(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "EventTypeID", "deleter")
    }

    /// Get or set the *Event Information* (PS3.7 10.1.1.1.6) as :class:`io.BytesIO`.
    ///
    /// Parameters
    /// ----------
    /// value : io.BytesIO or None
    ///     The encoded data set of a request. *Event Reply* is the same attribute.
    #[getter(EventInformation)]
    fn event_information(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read_data_set(slf.as_super())
    }

    #[setter(EventInformation)]
    fn set_event_information(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_data_set(slf.as_super(), data_set(value, "EventInformation")?)
    }

    #[deleter(EventInformation)]
    fn delete_event_information(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "EventInformation", "deleter")
    }

    /// Get or set the *Event Reply* (PS3.7 10.1.1.1.7) as :class:`io.BytesIO`.
    ///
    /// Parameters
    /// ----------
    /// value : io.BytesIO or None
    ///     The encoded data set of a response. *Event Information* is the same attribute.
    #[getter(EventReply)]
    fn event_reply(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read_data_set(slf.as_super())
    }

    #[setter(EventReply)]
    fn set_event_reply(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_data_set(slf.as_super(), data_set(value, "EventReply")?)
    }

    #[deleter(EventReply)]
    fn delete_event_reply(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "EventReply", "deleter")
    }
}
