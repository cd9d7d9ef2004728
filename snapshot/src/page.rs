//! One leaf or branch page, read element by element; nothing in it is believed.

use crate::error::{Error, Result};
use crate::format::{
    ELEMENT_BYTES, ELEMENTS_END, KEY_BYTES_MAX, Kind, PAGE_HEAD_BYTES, PageHead, VALUE_BYTES_MAX,
    u32_at, u64_at,
};
use crate::reader::Reader;
use crate::source::Source;

/// Where a page stands in its tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The pages from the root of the tree to this one.
    pub(crate) stack: Vec<u64>,
    /// No key is smaller.
    pub(crate) lower: Option<Vec<u8>>,
    /// Every key is smaller.
    pub(crate) upper: Option<Vec<u8>>,
}

/// A page and the element it is read up to.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) overflow: u32,
    pub(crate) place: Place,
    /// Where the page begins in the file.
    at: u64,
    count: usize,
    /// Length with overflow, by which no element reaches.
    total: usize,
    /// The page's length is given by its content.
    exact: bool,
    /// The beginning of the page, up to the last element's head at least.
    buf: Vec<u8>,
    /// A row that is not in `buf`.
    far: Vec<u8>,
    /// Elements read.
    index: usize,
    /// Where the data of the next element must begin.
    data_at: usize,
    /// The element read last.
    element: Element,
    /// Its key, to compare with the next.
    key: Vec<u8>,
}

/// The element a page is read up to.
#[derive(Debug, Clone, Copy, Default)]
struct Element {
    /// Flags of a row, page of a child.
    word: u64,
    /// Where the data begins, in `far` or `buf`.
    start: usize,
    is_far: bool,
    key_len: usize,
    value_len: usize,
}

impl Page {
    /// Reads the page `id`, which must be below the high-water mark.
    pub(crate) fn read<S: Source>(reader: &Reader<S>, id: u64, place: Place) -> Result<Self> {
        let at = id * reader.page_bytes() as u64;
        let mut buf = vec![0; reader.page_bytes()];
        reader.fill(at, &mut buf)?;
        let (head, kind) = head_of(reader, id, &buf, &place.stack)?;
        if !matches!(kind, Kind::Leaf | Kind::Branch) {
            let name = kind.name();
            let problem = format!("page {id}: invalid type: {name} (stack: {})", list(&place));
            return Err(Error::Corrupt { page: id, offset: at + 8, problem });
        }
        let total = (u64::from(head.overflow) + 1) * reader.page_bytes() as u64;
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let mut page = Self::new(id, kind, at, total, head, buf, place)?;
        let loaded = page.buf.len();
        if page.data_at > loaded {
            page.buf.resize(page.data_at, 0);
            let rest = page.buf.get_mut(loaded..).unwrap_or_default();
            reader.fill(at + loaded as u64, rest)?;
        }
        Ok(page)
    }

    /// The leaf inside a bucket's value, which stands at `at` in the file, on page `id`.
    pub(crate) fn inline(id: u64, at: u64, bytes: &[u8]) -> Result<Self> {
        let head = PageHead::decode(bytes);
        let Some(head) = head.filter(|h| h.id == 0 && h.flags == 0x02 && h.overflow == 0) else {
            let problem = format!("page {id}: inline bucket without a leaf page");
            return Err(Error::Corrupt { page: id, offset: at, problem });
        };
        let place = Place { stack: vec![id], ..Place::default() };
        let mut page = Self::new(id, Kind::Leaf, at, bytes.len(), head, bytes.to_vec(), place)?;
        page.exact = true;
        Ok(page)
    }

    fn new(
        id: u64,
        kind: Kind,
        at: u64,
        total: usize,
        head: PageHead,
        buf: Vec<u8>,
        place: Place,
    ) -> Result<Self> {
        let count = usize::from(head.count);
        let page = Self {
            id,
            kind,
            overflow: head.overflow,
            place,
            at,
            count,
            total,
            exact: false,
            buf,
            far: Vec::new(),
            index: 0,
            data_at: PAGE_HEAD_BYTES + count * ELEMENT_BYTES,
            element: Element::default(),
            key: Vec::new(),
        };
        if count == ELEMENTS_END || (count == 0 && kind == Kind::Branch) {
            return page.corrupt(10, format_args!("{count} elements on a {} page", kind.name()));
        }
        if page.data_at > total {
            return page.corrupt(10, format_args!("{count} elements do not fit on {total} bytes"));
        }
        Ok(page)
    }

    /// Goes to the next element. After an error or the end there is none.
    pub(crate) fn advance<S: Source>(&mut self, reader: &Reader<S>) -> Result<bool> {
        match self.try_advance(reader) {
            Ok(more) => Ok(more),
            Err(error) => {
                (self.index, self.exact) = (self.count, false);
                Err(error)
            }
        }
    }

    fn try_advance<S: Source>(&mut self, reader: &Reader<S>) -> Result<bool> {
        if self.index == self.count {
            if self.exact && self.data_at != self.total {
                self.exact = false;
                let extra = self.total - self.data_at;
                return self
                    .corrupt(self.data_at, format_args!("{extra} bytes after an inline page"));
            }
            return Ok(false);
        }
        let (word, key_len, value_len) = self.element_head()?;
        let row_end = self.data_at + key_len + value_len;
        let is_far = row_end > self.buf.len();
        let start = if is_far { 0 } else { self.data_at };
        if is_far {
            let len = key_len + value_len;
            if self.far.len() < len {
                self.far.resize(len, 0);
            }
            let row = self.far.get_mut(..len).unwrap_or_default();
            reader.fill(self.at + self.data_at as u64, row)?;
        }
        self.element = Element { word, start, is_far, key_len, value_len };
        self.check_order()?;
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.extend_from_slice(self.key());
        self.key = key;
        self.data_at = row_end;
        self.index += 1;
        Ok(true)
    }

    /// Flags or child, key length and value length of the next element, checked to lie within the
    /// page where they must.
    fn element_head(&self) -> Result<(u64, usize, usize)> {
        let at = PAGE_HEAD_BYTES + self.index * ELEMENT_BYTES;
        let head = self.buf.get(at..at + ELEMENT_BYTES).unwrap_or_default();
        let field = |at| u32_at(head, at).unwrap_or_default();
        let (word, pos, key_len, value_len) = match self.kind {
            Kind::Branch => (u64_at(head, 8).unwrap_or_default(), field(0), field(4), 0),
            _ => (u64::from(field(0)), field(4), field(8), field(12)),
        };
        let (key_len, value_len) = (key_len as usize, value_len as usize);
        let index = self.index;
        if at + pos as usize != self.data_at {
            let (is, should) = (at + pos as usize, self.data_at);
            let what = format_args!("element {index} begins at {is}, not at {should}");
            return self.corrupt(at, what);
        }
        if key_len == 0 || key_len > KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX {
            let what = format_args!(
                "element {index} with a key of {key_len} and a value of \
                                     {value_len} bytes"
            );
            return self.corrupt(at, what);
        }
        if self.data_at + key_len + value_len > self.total {
            return self.corrupt(at, format_args!("element {index} reaches beyond the page"));
        }
        Ok((word, key_len, value_len))
    }

    fn check_order(&self) -> Result<()> {
        let key = self.key();
        let previous = self.key.as_slice();
        let (index, place) = (self.index, &self.place);
        let bound = match (index, &place.lower, &place.upper) {
            (0, Some(lower), _) if key < lower.as_slice() => {
                format!(">= the key in the ancestor ({})", hex(lower))
            }
            (1.., _, _) if key < previous => {
                format!("> (found <) than previous element (hex){}", hex(previous))
            }
            (1.., _, _) if key == previous => {
                format!("> (found =) than previous element (hex){}", hex(previous))
            }
            (_, _, Some(upper)) if key >= upper.as_slice() => {
                format!("< than key of the next element in ancestor (hex){}", hex(upper))
            }
            _ => return Ok(()),
        };
        let problem = format!(
            "the {}key[{index}]=(hex){} on {} page({}) needs to be {bound}. Stack: {}",
            if index == 0 { "first " } else { "" },
            hex(key),
            self.kind.name(),
            self.id,
            list(place),
        );
        Err(Error::Corrupt { page: self.id, offset: self.offset(self.data_at), problem })
    }

    /// The key of the element read last.
    pub(crate) fn key(&self) -> &[u8] {
        self.data().get(..self.element.key_len).unwrap_or_default()
    }

    /// The value of the element read last.
    pub(crate) fn value(&self) -> &[u8] {
        self.data().get(self.element.key_len..).unwrap_or_default()
    }

    /// Key and value.
    fn data(&self) -> &[u8] {
        let Element { start, is_far, key_len, value_len, .. } = self.element;
        let bytes = if is_far { &self.far } else { &self.buf };
        bytes.get(start..start + key_len + value_len).unwrap_or_default()
    }

    /// Flags or child of the element read last.
    pub(crate) fn word(&self) -> u64 {
        self.element.word
    }

    /// Where the element read last ends in the file.
    pub(crate) fn row_end(&self) -> u64 {
        self.offset(self.data_at)
    }

    fn offset(&self, at: usize) -> u64 {
        self.at + at as u64
    }

    /// An error at byte `at` of this page.
    pub(crate) fn corrupt<T>(&self, at: usize, what: std::fmt::Arguments<'_>) -> Result<T> {
        let problem = format!("page {}: {what}", self.id);
        Err(Error::Corrupt { page: self.id, offset: self.offset(at), problem })
    }
}

/// The head of page `id`, checked as far as every kind of page must fit.
pub(crate) fn head_of<S>(
    reader: &Reader<S>,
    id: u64,
    page: &[u8],
    stack: &[u64],
) -> Result<(PageHead, Kind)> {
    let at = id * reader.page_bytes() as u64;
    let corrupt = |field, problem| Err(Error::Corrupt { page: id, offset: at + field, problem });
    let Some(head) = PageHead::decode(page) else {
        return corrupt(0, format!("page {id}: too short"));
    };
    if head.id != id {
        let found = head.id;
        let problem =
            format!("assertion failed: Page expected to be: {id}, but self identifies as {found}");
        return corrupt(0, problem);
    }
    let Some(kind) = Kind::from_flags(head.flags) else {
        let flags = head.flags;
        return corrupt(8, format!("unexpected page type (flags: {flags:x}) for pgId:{id}"));
    };
    if id + u64::from(head.overflow) >= reader.high_water() {
        let (last, end) = (id + u64::from(head.overflow), reader.high_water());
        let stack = numbers(stack);
        return corrupt(12, format!("page {last}: out of bounds: {end} (stack: {stack})"));
    }
    Ok((head, kind))
}

/// The stack as bbolt prints it.
pub(crate) fn list(place: &Place) -> String {
    numbers(&place.stack)
}

fn numbers(ids: &[u64]) -> String {
    let words: Vec<String> = ids.iter().map(u64::to_string).collect();
    format!("[{}]", words.join(" "))
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
