//! How sorted rows become pages: the one layout that planning and writing share.
//!
//! ```text
//!   push ─▶ leaf ──full──▶ page ─▶ (first key, id) ─▶ branch ──full──▶ page ─▶ …
//! ```
//! Pages leave in the order of their ids, children before parents. A page is full at nine tenths,
//! as after etcd's defragmentation; a row that is larger has a page with overflow to itself. A
//! branch has at least two children, so its last element waits until it is known whether another
//! follows.

use crate::error::{Error, Result};
use crate::format::{
    BUCKET_FLAG, BUCKET_HEAD_BYTES, ELEMENT_BYTES, KEY_BYTES_MAX, Kind, PAGE_BYTES,
    PAGE_HEAD_BYTES, PageHead, VALUE_BYTES_MAX, u32_of,
};

/// Bytes of a page beyond which no further element is added.
const PAGE_FILL_BYTES: usize = PAGE_BYTES * 9 / 10;
/// Largest leaf that is stored inside its bucket's value.
const INLINE_BYTES_MAX: usize = PAGE_BYTES / 4;
/// A branch with fewer children would not branch.
const BRANCH_CHILDREN_MIN: usize = 2;

/// A key or value. When planning only its length is known and `bytes` is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self { len: bytes.len(), bytes }
    }

    pub(crate) const fn length(len: usize) -> Self {
        Self { len, bytes: &[] }
    }
}

/// One row of a leaf or child of a branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    /// Flags of a row, page of a child.
    word: u64,
    key_len: u32,
    value_len: u32,
}

/// A page's content on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) kind: Kind,
    elements: &'a [Element],
    /// Keys and values; empty when planning.
    pub(crate) data: &'a [u8],
    /// Length of the page without the zeros at its end.
    pub(crate) bytes: usize,
}

impl Content<'_> {
    pub(crate) fn pages(&self) -> u64 {
        self.bytes.div_ceil(PAGE_BYTES) as u64
    }

    /// Appends head and elements, which `data` must follow.
    pub(crate) fn encode_heads(&self, id: u64, overflow: u32, out: &mut Vec<u8>) {
        let count = self.elements.len();
        let count = u16::try_from(count).expect("an element takes at least 17 of 3,686 bytes");
        PageHead { id, flags: self.kind.flags(), count, overflow }.encode(out);
        let mut pos = self.elements.len() * ELEMENT_BYTES;
        for element in self.elements {
            let mut bytes = [0; ELEMENT_BYTES];
            let words = match self.kind {
                Kind::Branch => {
                    u128::from(u32_of(pos))
                        | u128::from(element.key_len) << 32
                        | u128::from(element.word) << 64
                }
                _ => {
                    u128::from(element.word)
                        | u128::from(u32_of(pos)) << 32
                        | u128::from(element.key_len) << 64
                        | u128::from(element.value_len) << 96
                }
            };
            bytes.copy_from_slice(&words.to_le_bytes());
            out.extend_from_slice(&bytes);
            pos = pos + element.key_len as usize + element.value_len as usize - ELEMENT_BYTES;
        }
    }
}

/// Where pages go.
pub(crate) trait Sink {
    /// Whether bytes are wanted, or lengths only.
    const WRITES: bool;

    /// Takes the next page and gives its id.
    fn page(&mut self, content: Content<'_>) -> Result<u64>;
}

/// A page that is being filled.
#[derive(Debug)]
struct Node {
    kind: Kind,
    elements: Vec<Element>,
    data: Vec<u8>,
    /// Head, elements and data by their lengths.
    bytes: usize,
    /// The last element of a branch does not belong to this page.
    surplus: bool,
}

impl Node {
    fn new(kind: Kind) -> Self {
        let (elements, data) = (Vec::new(), Vec::new());
        Self { kind, elements, data, bytes: PAGE_HEAD_BYTES, surplus: false }
    }

    fn has_room(&self, key: Piece<'_>, value: Piece<'_>) -> bool {
        self.bytes + ELEMENT_BYTES + key.len + value.len <= PAGE_FILL_BYTES
    }

    fn push(&mut self, word: u64, key: Piece<'_>, value: Piece<'_>) {
        let (key_len, value_len) = (u32_of(key.len), u32_of(value.len));
        self.elements.push(Element { word, key_len, value_len });
        self.data.extend_from_slice(key.bytes);
        self.data.extend_from_slice(value.bytes);
        self.bytes += ELEMENT_BYTES + key.len + value.len;
    }

    fn first_key(&self) -> Piece<'_> {
        let len = self.elements.first().map_or(0, |element| element.key_len as usize);
        Piece { len, bytes: self.data.get(..len).unwrap_or_default() }
    }

    fn last_key(&self) -> &[u8] {
        let Some(last) = self.elements.last() else { return &[] };
        let row = last.key_len as usize + last.value_len as usize;
        let start = self.data.len().saturating_sub(row);
        self.data.get(start..start + last.key_len as usize).unwrap_or_default()
    }

    /// The first `count` elements as a page.
    fn content(&self, count: usize) -> Content<'_> {
        let rest = self.elements.get(count..).unwrap_or_default();
        let rest_data: usize = rest.iter().map(|e| e.key_len as usize + e.value_len as usize).sum();
        let data_end = self.data.len().saturating_sub(rest_data);
        Content {
            kind: self.kind,
            elements: self.elements.get(..count).unwrap_or_default(),
            data: self.data.get(..data_end).unwrap_or_default(),
            bytes: self.bytes - rest.len() * ELEMENT_BYTES - rest_data,
        }
    }

    /// Removes the first `count` elements.
    fn remove(&mut self, count: usize) {
        let Content { data, bytes, .. } = self.content(count);
        let data_len = data.len();
        self.bytes = self.bytes - bytes + PAGE_HEAD_BYTES;
        self.elements.drain(..count);
        self.data.drain(..data_len);
    }
}

/// What a finished tree is reached by.
enum Root {
    Page(u64),
    /// It is one small leaf, to be stored in the bucket's value.
    Inline(Node),
}

/// The tree of one bucket, or of the root.
#[derive(Debug)]
struct Tree {
    leaf: Node,
    /// From the level above the leaves upwards.
    branches: Vec<Node>,
}

impl Tree {
    fn new() -> Self {
        Self { leaf: Node::new(Kind::Leaf), branches: Vec::new() }
    }

    fn push<S: Sink>(
        &mut self,
        flags: u32,
        key: Piece<'_>,
        value: Piece<'_>,
        sink: &mut S,
    ) -> Result<()> {
        let count = self.leaf.elements.len();
        if count > 0 && !self.leaf.has_room(key, value) {
            let id = sink.page(self.leaf.content(count))?;
            lift(&mut self.branches, 0, self.leaf.first_key(), id, sink)?;
            self.leaf.remove(count);
        }
        self.leaf.push(u64::from(flags), key, value);
        Ok(())
    }

    /// Ends a bucket.
    fn finish<S: Sink>(self, sink: &mut S) -> Result<Root> {
        if self.branches.is_empty() && self.leaf.bytes <= INLINE_BYTES_MAX {
            return Ok(Root::Inline(self.leaf));
        }
        Ok(Root::Page(self.finish_in_pages(sink)?))
    }

    /// Writes what is still held, up to the root, and gives the root's page.
    fn finish_in_pages<S: Sink>(mut self, sink: &mut S) -> Result<u64> {
        let mut node = self.leaf;
        let mut level = 0;
        loop {
            let count = node.elements.len();
            // Two pages, unless the first would keep too few.
            let first = match node.surplus {
                true if count > BRANCH_CHILDREN_MIN + 1 => count - BRANCH_CHILDREN_MIN,
                _ => count,
            };
            let id = sink.page(node.content(first))?;
            if first == count && level == self.branches.len() {
                return Ok(id);
            }
            lift(&mut self.branches, level, node.first_key(), id, sink)?;
            if first < count {
                node.remove(first);
                let id = sink.page(node.content(count - first))?;
                lift(&mut self.branches, level, node.first_key(), id, sink)?;
            }
            node = take(&mut self.branches, level);
            level += 1;
        }
    }
}

/// Takes a branch out of its place.
fn take(branches: &mut [Node], level: usize) -> Node {
    let empty = Node::new(Kind::Branch);
    branches.get_mut(level).map_or(empty, |node| std::mem::replace(node, Node::new(Kind::Branch)))
}

/// Adds a child to the branch at `level`; a branch that is full leaves and is added a level up.
fn lift<S: Sink>(
    branches: &mut Vec<Node>,
    level: usize,
    key: Piece<'_>,
    child: u64,
    sink: &mut S,
) -> Result<()> {
    if branches.len() == level {
        branches.push(Node::new(Kind::Branch));
    }
    let mut node = take(branches, level);
    if node.surplus {
        let count = node.elements.len() - 1;
        let id = sink.page(node.content(count))?;
        lift(branches, level + 1, node.first_key(), id, sink)?;
        node.remove(count);
        node.surplus = false;
    } else {
        let nothing = Piece::length(0);
        node.surplus = node.elements.len() >= BRANCH_CHILDREN_MIN && !node.has_room(key, nothing);
    }
    node.push(child, key, Piece::length(0));
    if let Some(place) = branches.get_mut(level) {
        *place = node;
    }
    Ok(())
}

/// Buckets and their rows, in order, into pages.
#[derive(Debug)]
pub(crate) struct Builder {
    root: Tree,
    /// Name and rows of the bucket that is open.
    bucket: Option<(Vec<u8>, Tree)>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { root: Tree::new(), bucket: None }
    }

    /// Ends the open bucket and begins the next.
    pub(crate) fn bucket<S: Sink>(&mut self, name: &[u8], sink: &mut S) -> Result<()> {
        if name.is_empty() || name.len() > KEY_BYTES_MAX {
            return unwritable("the name of a bucket has 1 to 32,768 bytes");
        }
        if self.bucket.as_ref().is_some_and(|(last, _)| name <= last.as_slice()) {
            return unwritable("names of buckets ascend");
        }
        self.end_bucket(sink)?;
        self.bucket = Some((name.to_vec(), Tree::new()));
        Ok(())
    }

    /// Adds a row to the open bucket.
    pub(crate) fn row<S: Sink>(
        &mut self,
        key: Piece<'_>,
        value: Piece<'_>,
        sink: &mut S,
    ) -> Result<()> {
        if key.len == 0 || key.len > KEY_BYTES_MAX {
            return unwritable("a key has 1 to 32,768 bytes");
        }
        if value.len > VALUE_BYTES_MAX {
            return unwritable("a value has at most 2,147,483,646 bytes");
        }
        let Some((_, tree)) = &mut self.bucket else {
            return unwritable("a row follows its bucket");
        };
        if S::WRITES && key.bytes <= tree.leaf.last_key() {
            return unwritable("keys of a bucket ascend");
        }
        tree.push(0, key, value, sink)
    }

    /// Ends the last bucket and the file, and gives the root page.
    pub(crate) fn finish<S: Sink>(mut self, sink: &mut S) -> Result<u64> {
        self.end_bucket(sink)?;
        self.root.finish_in_pages(sink)
    }

    fn end_bucket<S: Sink>(&mut self, sink: &mut S) -> Result<()> {
        let Some((name, tree)) = self.bucket.take() else { return Ok(()) };
        let root = tree.finish(sink)?;
        let inline_bytes = match &root {
            Root::Page(_) => 0,
            Root::Inline(leaf) => leaf.bytes,
        };
        if !S::WRITES {
            let value = Piece::length(BUCKET_HEAD_BYTES + inline_bytes);
            return self.root.push(BUCKET_FLAG, Piece::length(name.len()), value, sink);
        }
        let mut value = Vec::with_capacity(BUCKET_HEAD_BYTES + inline_bytes);
        let (page, sequence) = (if let Root::Page(id) = root { id } else { 0 }, 0_u64);
        value.extend_from_slice(&page.to_le_bytes());
        value.extend_from_slice(&sequence.to_le_bytes());
        if let Root::Inline(leaf) = &root {
            leaf.content(leaf.elements.len()).encode_heads(0, 0, &mut value);
            value.extend_from_slice(&leaf.data);
        }
        self.root.push(BUCKET_FLAG, Piece::of(&name), Piece::of(&value), sink)
    }
}

fn unwritable<T>(reason: &'static str) -> Result<T> {
    Err(Error::Unwritable { reason })
}
