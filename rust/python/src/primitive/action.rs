//! The attributes of `N_ACTION` that `N_EVENT_REPORT` does not have.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::primitive::class::{
    data_set, initialize, int_or_none, no_accessor, read, read_data_set, read_uid, store,
    store_data_set, store_uid,
};
use crate::primitive::slots::{
    ActionPrimitive, DIMSEPrimitive, REQUESTED_CLASS, REQUESTED_INSTANCE, Service,
};
use crate::primitive::uid::set_uid;

#[pymethods]
impl ActionPrimitive {
    #[new]
    // A subclass may have an `__init__` with other arguments; `__init__` here checks them.
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(*, MessageID=None, MessageIDBeingRespondedTo=None, RequestedSOPClassUID=None, \
            RequestedSOPInstanceUID=None, ActionTypeID=None, ActionInformation=None, \
            AffectedSOPClassUID=None, AffectedSOPInstanceUID=None, ActionReply=None, Status=None, \
            ErrorComment=None, ErrorID=None)"
    )]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(DIMSEPrimitive::new(Service::Action)).add_subclass(Self)
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        initialize(slf.as_super(), args, kwargs)
    }

    /// Get or set the *Requested SOP Class UID* (PS3.7 10.1.4.1.3) as :class:`~pydicom.uid.UID`.
    ///
    /// Parameters
    /// ----------
    /// value : pydicom.uid.UID, bytes, str or None
    ///     The UID of the SOP class of the action.
    #[getter(RequestedSOPClassUID)]
    fn requested_class<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyString>>> {
        read_uid(slf.as_super(), |slots| &mut slots.requested_class)
    }

    #[setter(RequestedSOPClassUID)]
    fn set_requested_class(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_uid(
            slf.as_super(),
            |slots| &mut slots.requested_class,
            set_uid(value, REQUESTED_CLASS)?,
        )
    }

    #[deleter(RequestedSOPClassUID)]
    fn delete_requested_class(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "RequestedSOPClassUID", "deleter")
    }

    /// Get or set the *Requested SOP Instance UID* (PS3.7 10.1.4.1.4) as :class:`~pydicom.uid.UID`.
    ///
    /// Parameters
    /// ----------
    /// value : pydicom.uid.UID, bytes, str or None
    ///     The UID of the SOP instance of the action.
    #[getter(RequestedSOPInstanceUID)]
    fn requested_instance<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyString>>> {
        read_uid(slf.as_super(), |slots| &mut slots.requested_instance)
    }

    #[setter(RequestedSOPInstanceUID)]
    fn set_requested_instance(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_uid(
            slf.as_super(),
            |slots| &mut slots.requested_instance,
            set_uid(value, REQUESTED_INSTANCE)?,
        )
    }

    #[deleter(RequestedSOPInstanceUID)]
    fn delete_requested_instance(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "RequestedSOPInstanceUID", "deleter")
    }

    /// Get or set the *Action Type ID* (PS3.7 10.1.4.1.5) as :class:`int`.
    ///
    /// Parameters
    /// ----------
    /// value : int or None
    ///     A number from 0 to 65535. The range is checked when the message is encoded.
    #[getter(ActionTypeID)]
    fn action_type(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read(slf.as_super(), |slots| &mut slots.type_id)
    }

    #[setter(ActionTypeID)]
    fn set_action_type(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        const TEXT: &str = "'N_ACTION.ActionTypeID' must be an int.";
        store(slf.as_super(), |slots| &mut slots.type_id, int_or_none(value, TEXT)?)
    }

    #[deleter(ActionTypeID)]
    fn delete_action_type(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "ActionTypeID", "deleter")
    }

    /// Get or set the *Action Information* (PS3.7 10.1.4.1.6) as :class:`io.BytesIO`.
    ///
    /// Parameters
    /// ----------
    /// value : io.BytesIO or None
    ///     The encoded data set of a request. *Action Reply* is the same attribute.
    #[getter(ActionInformation)]
    fn action_information(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read_data_set(slf.as_super())
    }

    #[setter(ActionInformation)]
    fn set_action_information(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_data_set(slf.as_super(), data_set(value, "ActionInformation")?)
    }

    #[deleter(ActionInformation)]
    fn delete_action_information(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "ActionInformation", "deleter")
    }

    /// Get or set the *Action Reply* (PS3.7 10.1.4.1.9) as :class:`io.BytesIO`.
    ///
    /// Parameters
    /// ----------
    /// value : io.BytesIO or None
    ///     The encoded data set of a response. *Action Information* is the same attribute.
    #[getter(ActionReply)]
    fn action_reply(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        read_data_set(slf.as_super())
    }

    #[setter(ActionReply)]
    fn set_action_reply(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        store_data_set(slf.as_super(), data_set(value, "ActionReply")?)
    }

    #[deleter(ActionReply)]
    fn delete_action_reply(slf: &Bound<'_, Self>) -> PyResult<()> {
        no_accessor(slf.as_super(), "ActionReply", "deleter")
    }
}
