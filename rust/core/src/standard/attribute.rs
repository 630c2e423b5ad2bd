//! Attributes by name (PS3.6): a keyword, or a tag of eight hexadecimal digits.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use thiserror::Error;

use crate::standard::nearest::{DidYouMean, nearest};
use crate::standard::sop_classes::keywords;

/// An attribute with its VR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The tag.
    pub tag: Tag,
    /// The VR.
    pub vr: VR,
    /// The keyword, or the tag if it has none; followed by the VR if no dictionary has it.
    pub name: Box<str>,
}

/// A name that is not an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttributeError {
    /// Neither a keyword nor a tag.
    #[error(
        "'{0}' is not an attribute{hint}: use a keyword of PS3.6, a tag \"ggggeeee\", or \
         \"ggggeeee:VR\" for a tag outside the standard",
        hint = DidYouMean(nearest(.0, keywords()))
    )]
    Unknown(Box<str>),
    /// Text after the colon that is not a VR.
    #[error("'{0}' is not a VR of PS3.5 6.2")]
    Vr(Box<str>),
    /// A tag that cannot occur in the data set of a message.
    #[error("({group:04X},{element:04X}) is not part of a message's data set: {why}")]
    NotInDataSet {
        /// The group.
        group: u16,
        /// The element.
        element: u16,
        /// Where the tag belongs.
        why: &'static str,
    },
}

/// Former keywords that some dictionaries, such as pydicom's, have instead of those that end with
/// Sequence.
const FORMER_KEYWORDS: [(&str, Tag); 2] = [
    ("SummarizedFilterLookupTable", Tag(0x003A, 0x0320)),
    ("AnalogFilterType", Tag(0x003A, 0x0325)),
];

/// Specific Character Set.
pub const SPECIFIC_CHARACTER_SET: Tag = Tag(0x0008, 0x0005);

impl Attribute {
    /// The attribute of this name: `TransactionUID`, `00081195`, `00091001:LO`.
    ///
    /// ```
    /// use fastdimse_core::standard::attribute::Attribute;
    /// let attribute = Attribute::from_name("TransactionUID").unwrap();
    /// assert_eq!(attribute.tag.to_string(), "(0008,1195)");
    /// assert_eq!(Attribute::from_name("00081195").unwrap(), attribute);
    /// ```
    pub fn from_name(name: &str) -> Result<Self, AttributeError> {
        let (tag, vr) = match name.split_once(':') {
            Some((tag, vr)) => (tag, Some(vr)),
            None => (name, None),
        };
        let vr = vr.map(|vr| vr.parse().map_err(|_| AttributeError::Vr(vr.into()))).transpose()?;
        let tag = match tag_of(tag) {
            Some(tag) => tag,
            None => from_keyword(tag).ok_or_else(|| AttributeError::Unknown(name.into()))?,
        };
        check_group(tag)?;
        Ok(Self::new(tag, vr))
    }

    /// The attribute of a tag. The VR is `vr` if given, else that of the dictionary, else UN.
    pub fn new(tag: Tag, vr: Option<VR>) -> Self {
        let entry = StandardDataDictionary.by_tag(tag);
        let of_standard = entry.map(|entry| entry.vr().relaxed());
        let found = vr.or(of_standard).unwrap_or(VR::UN);
        let Tag(group, element) = tag;
        let name = match (entry, vr) {
            // Repeating groups share one keyword.
            (Some(entry), _) if entry.tag.inner() == tag && Some(found) == of_standard => {
                entry.alias().to_owned()
            }
            (_, Some(vr)) if of_standard != Some(vr) => format!("{group:04X}{element:04X}:{vr}"),
            _ => format!("{group:04X}{element:04X}"),
        };
        Self { tag, vr: found, name: name.into() }
    }
}

fn from_keyword(keyword: &str) -> Option<Tag> {
    let of_standard = StandardDataDictionary.by_name(keyword).map(|entry| entry.tag.inner());
    let former = || FORMER_KEYWORDS.iter().find(|(former, _)| *former == keyword);
    of_standard.or_else(|| former().map(|(_, tag)| *tag))
}

/// Parses a tag of eight hexadecimal digits.
pub fn tag_of(text: &str) -> Option<Tag> {
    let digits = text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(Tag((number >> 16) as u16, number as u16))
}

fn check_group(tag: Tag) -> Result<(), AttributeError> {
    let why = match tag {
        Tag(0x0000, _) => "it belongs to a command set (PS3.7 E)",
        Tag(0x0002, _) => "it belongs to a file's meta information (PS3.10 7.1)",
        Tag(0xFFFE, _) => "it marks items (PS3.5 7.5)",
        _ => return Ok(()),
    };
    let Tag(group, element) = tag;
    Err(AttributeError::NotInDataSet { group, element, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["TransactionUID", "ReferencedSOPSequence", "00091001:LO", "60020010:US"] {
            let attribute = Attribute::from_name(name).unwrap();
            assert_eq!(Attribute::new(attribute.tag, Some(attribute.vr)).name, attribute.name);
            assert_eq!(Attribute::from_name(&attribute.name).unwrap(), attribute);
        }
        assert_eq!(Attribute::from_name("00091001").unwrap().vr, VR::UN);
        assert_eq!(&*Attribute::from_name("00081195").unwrap().name, "TransactionUID");
    }

    #[test]
    fn unknown_names_are_rejected() {
        for name in ["Nothing", "0008", "00081195:XX", "00000002", "00020010", "FFFEE000", ""] {
            assert!(Attribute::from_name(name).is_err(), "{name}");
        }
    }
}
