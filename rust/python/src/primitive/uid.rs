//! UIDs as attributes: pynetdicom's `set_uid`, with a fast path for conformant UIDs.
//!
//! A conformant UID passes pynetdicom's default validator for any value of `ENFORCE_UID_CONFORMANCE`,
//! without a warning or a log message. So its text is stored, and becomes a `pydicom.uid.UID` when it is
//! first read. Any other value goes through the steps of pynetdicom and pydicom.

use fastdimse_core::uid::is_conformant;
use pyo3::exceptions::{PyTypeError, PyUnicodeDecodeError, PyUnicodeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};

/// A UID attribute.
#[derive(Default)]
pub enum UidSlot {
    /// `None`.
    #[default]
    Empty,
    /// A conformant UID that has not been read yet.
    Text(Py<PyString>),
    /// A `pydicom.uid.UID`.
    Uid(Py<PyString>),
}

impl UidSlot {
    /// The bytes of the text, if any; `None` if they are not ASCII or several values.
    pub fn ascii(&self, py: Python<'_>) -> Option<Option<&[u8]>> {
        match self {
            Self::Empty => Some(None),
            // A conformant UID is ASCII.
            Self::Text(text) => Some(Some(text.to_str(py).ok()?.as_bytes())),
            Self::Uid(text) => {
                let text = text.to_str(py).ok()?;
                let is_one = text.is_ascii() && !text.contains('\\');
                is_one.then_some(Some(text.as_bytes()))
            }
        }
    }

    /// The text, moved.
    #[inline]
    pub fn into_text(self) -> Option<Py<PyString>> {
        match self {
            Self::Empty => None,
            Self::Text(text) | Self::Uid(text) => Some(text),
        }
    }

    /// The text.
    pub fn text<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        match self {
            Self::Empty => None,
            Self::Text(text) | Self::Uid(text) => Some(text.bind(py).clone()),
        }
    }
}

/// The class `pydicom.uid.UID`.
pub fn uid_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static UID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if UID.get(py).is_none() {
        // The package before its module: threads that import different modules of it first would get
        // incomplete ones.
        py.import(intern!(py, "pydicom"))?;
    }
    UID.import(py, "pydicom.uid", "UID")
}

/// A `pydicom.uid.UID` of a conformant text, without the checks of its constructor.
pub fn to_uid<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyString>> {
    static STR_NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = text.py();
    let new = STR_NEW.get_or_try_init(py, || {
        py.get_type::<PyString>().getattr(intern!(py, "__new__")).map(Bound::unbind)
    })?;
    Ok(new.bind(py).call1((uid_type(py)?, text))?.cast_into()?)
}

/// The slot for `value`; `name` is the name of the attribute in errors.
#[inline]
pub fn set_uid(value: &Bound<'_, PyAny>, name: &str) -> PyResult<UidSlot> {
    if let Ok(text) = value.cast_exact::<PyString>()
        && is_conformant_str(text)
        && has_default_validator(value.py())?
    {
        return Ok(UidSlot::Text(text.clone().unbind()));
    }
    set_other_uid(value, name)
}

/// The same for any value.
#[inline(never)]
fn set_other_uid(value: &Bound<'_, PyAny>, name: &str) -> PyResult<UidSlot> {
    if value.is_none() {
        return Ok(UidSlot::Empty);
    }
    if let Some(text) = conformant_text(value)?
        && has_default_validator(value.py())?
    {
        return Ok(UidSlot::Text(text.unbind()));
    }
    set_uid_by_steps(value, name)
}

/// Whether UIDs are checked by the default rule.
#[inline]
pub fn has_default_validator(py: Python<'_>) -> PyResult<bool> {
    match config(py)? {
        Some(config) => config.has_default_validator(py),
        None => Ok(true),
    }
}

/// The text of a conformant UID that is `bytes`, or a UID of pydicom or pynetdicom without a private
/// encoding, which the stored text would lose.
fn conformant_text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = value.py();
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        let conformant = std::str::from_utf8(bytes.as_bytes())
            .ok()
            .filter(|text| is_conformant(text.as_bytes()));
        return Ok(conformant.map(|text| PyString::new(py, text)));
    }
    let Ok(text) = value.cast::<PyString>() else { return Ok(None) };
    let plain = value.get_type().is(uid_type(py)?)
        && value.getattr_opt(intern!(py, "_PRIVATE_TS_ENCODING"))?.is_none();
    if !plain || !is_conformant_str(text) {
        return Ok(None);
    }
    Ok(Some(PyString::new(py, text.to_str()?)))
}

#[inline]
fn is_conformant_str(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(|text| is_conformant(text.as_bytes()))
}

/// pynetdicom's configuration module, its variables, and its default validator of UIDs.
struct Config {
    module: Py<PyAny>,
    variables: Py<PyDict>,
    validate_ui: Py<PyAny>,
}

static CONFIG: PyOnceLock<Config> = PyOnceLock::new();

/// `pynetdicom._config`, once the program has imported it.
#[inline]
fn config(py: Python<'_>) -> PyResult<Option<&Config>> {
    match CONFIG.get(py) {
        Some(config) => Ok(Some(config)),
        None => find_config(py),
    }
}

#[inline(never)]
fn find_config(py: Python<'_>) -> PyResult<Option<&Config>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.import(py, "sys", "modules")?.as_any().cast::<PyDict>()?;
    let Some(module) = modules.get_item(intern!(py, "pynetdicom._config"))? else {
        return Ok(None);
    };
    // While pynetdicom is being imported, its configuration may exist before its validators.
    let validators = py.import(intern!(py, "pynetdicom._validators"))?;
    let config = CONFIG.get_or_try_init(py, || {
        PyResult::Ok(Config {
            variables: module.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?.unbind(),
            module: module.unbind(),
            validate_ui: validators.getattr(intern!(py, "validate_ui"))?.unbind(),
        })
    })?;
    Ok(Some(config))
}

impl Config {
    /// Whether `VALIDATORS["UI"]` is the default one. Every UID that is set is checked here: reading the
    /// dictionaries directly takes half the time of attribute lookups.
    fn has_default_validator(&self, py: Python<'_>) -> PyResult<bool> {
        let validators = self.variables.bind(py).get_item(intern!(py, "VALIDATORS"))?;
        let Some(Ok(validators)) = validators.map(Bound::cast_into_exact::<PyDict>) else {
            return Ok(false);
        };
        Ok(validators.get_item(intern!(py, "UI"))?.is_some_and(|it| it.is(&self.validate_ui)))
    }

    fn validator<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.module.bind(py).getattr(intern!(py, "VALIDATORS"))?.get_item(intern!(py, "UI"))
    }
}

/// The logger of pynetdicom's `set_uid`, or that of fastdimse if pynetdicom is not imported.
pub fn logger<'py>(py: Python<'py>, of_pynetdicom: &str) -> PyResult<Bound<'py, PyAny>> {
    let name = if config(py)?.is_some() { of_pynetdicom } else { "fastdimse" };
    py.import(intern!(py, "logging"))?.call_method1(intern!(py, "getLogger"), (name,))
}

/// pynetdicom's `set_uid`, followed by `or None`.
fn set_uid_by_steps(value: &Bound<'_, PyAny>, name: &str) -> PyResult<UidSlot> {
    let py = value.py();
    let text = match value.cast::<PyBytes>() {
        Ok(bytes) => decode_bytes(bytes)?.into_any(),
        Err(_) => value.clone(),
    };
    if !text.is_instance_of::<PyString>() {
        let found = value.getattr(intern!(py, "__class__"))?.getattr(intern!(py, "__name__"))?;
        let text = format!("'{name}' must be str, bytes, UID or None, not '{found}'");
        return Err(PyTypeError::new_err(text));
    }
    let uid = uid_type(py)?.call1((text,))?;
    if !uid.is_truthy()? {
        return Ok(UidSlot::Empty);
    }
    let logger = logger(py, "pynetdicom.utils")?;
    let (conformant, reason) = validate(&uid)?;
    if !conformant {
        let message = format_text(py, "Invalid '{}' value '{}' - {}", (name, &uid, reason))?;
        logger.call_method1(intern!(py, "error"), (&message,))?;
        return Err(PyValueError::new_err(message.unbind()));
    }
    if !uid.getattr(intern!(py, "is_valid"))?.is_truthy()? {
        let message = format_text(py, "Non-conformant '{}' value '{}'", (name, &uid))?;
        logger.call_method1(intern!(py, "warning"), (message,))?;
    }
    Ok(UidSlot::Uid(uid.cast_into::<PyString>()?.unbind()))
}

/// Formats in Python, whose strings may contain characters that those of Rust cannot.
fn format_text<'py>(
    py: Python<'py>,
    template: &str,
    values: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    PyString::new(py, template).call_method1(intern!(py, "format"), values)
}

fn validate<'py>(uid: &Bound<'py, PyAny>) -> PyResult<(bool, Bound<'py, PyAny>)> {
    let py = uid.py();
    let Some(config) = config(py)? else {
        let reason = PyString::new(py, "must not exceed 64 characters").into_any();
        return Ok((uid.len()? <= fastdimse_core::uid::MAX_LENGTH, reason));
    };
    let (conformant, reason) = unpack_two(&config.validator(py)?.call1((uid,))?)?;
    Ok((conformant.is_truthy()?, reason))
}

/// `first, second = value`, with the errors of Python.
fn unpack_two<'py>(value: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let Ok(mut items) = value.try_iter() else {
        let class = value.get_type().name()?;
        let text = format!("cannot unpack non-iterable {class} object");
        return Err(PyTypeError::new_err(text));
    };
    match (items.next().transpose()?, items.next().transpose()?, items.next().transpose()?) {
        (Some(first), Some(second), None) => Ok((first, second)),
        (_, Some(_), Some(_)) => {
            Err(PyValueError::new_err("too many values to unpack (expected 2)"))
        }
        (first, ..) => {
            let found = usize::from(first.is_some());
            let text = format!("not enough values to unpack (expected 2, got {found})");
            Err(PyValueError::new_err(text))
        }
    }
}

/// pynetdicom's `decode_bytes`: ASCII, then the codecs of its configuration, whose result is reduced to
/// ASCII.
fn decode_bytes<'py>(value: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyString>> {
    let py = value.py();
    let logger = logger(py, "pynetdicom.utils")?;
    let log = |error: &PyErr| -> PyResult<()> {
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "exc_info"), error.value(py))?;
        logger.call_method(intern!(py, "exception"), (error.value(py),), Some(&keywords))?;
        Ok(())
    };
    match value.call_method1(intern!(py, "decode"), (intern!(py, "ascii"),)) {
        Ok(text) => return Ok(text.cast_into()?),
        Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => log(&error)?,
        Err(error) => return Err(error),
    }
    let mut codecs = fallback_codecs(py)?;
    for codec in &codecs {
        let kept = value.call_method1(intern!(py, "decode"), (codec,)).and_then(|text| {
            text.call_method1(intern!(py, "encode"), (intern!(py, "ascii"), intern!(py, "ignore")))
        });
        match kept {
            Ok(kept) => return decode_bytes(kept.cast::<PyBytes>()?),
            Err(error) if error.is_instance_of::<PyUnicodeError>(py) => log(&error)?,
            Err(error) => return Err(error),
        }
    }
    codecs.insert(0, "ascii".to_owned());
    let hex: Vec<String> = value.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    let (hex, codecs) = (hex.join(" "), codecs.join(", "));
    Err(PyValueError::new_err(format!("Unable to decode '{hex}' using the {codecs} codec(s)")))
}

fn fallback_codecs(py: Python<'_>) -> PyResult<Vec<String>> {
    let Some(config) = config(py)? else { return Ok(Vec::new()) };
    let codecs: Vec<String> = config.module.bind(py).getattr(intern!(py, "CODECS"))?.extract()?;
    let ascii = ["ascii", "646", "us-ascii"];
    Ok(codecs.into_iter().filter(|codec| !ascii.contains(&codec.as_str())).collect())
}
