//! The fixed parts of bbolt's format. All numbers are little endian.
//!
//! ```text
//!   page    0 id u64 │ 8 flags u16 │ 10 count u16 │ 12 overflow u32 │ 16 payload
//!   meta   16 magic u32 │ 20 version u32 │ 24 page size u32 │ 28 flags u32 │ 32 root u64
//!          40 sequence u64 │ 48 freelist u64 │ 56 high water u64 │ 64 txid u64 │ 72 FNV-1a u64
//!   leaf element    0 flags u32 │ 4 pos u32 │ 8 key length u32 │ 12 value length u32
//!   branch element  0 pos u32 │ 4 key length u32 │ 8 child page u64
//!   bucket value    0 root page u64, 0 = inline │ 8 sequence u64 │ 16 inline page
//! ```
//! `pos` counts from the element's own start; keys and values follow the elements without gaps.

/// Page size of the files this crate writes: that of etcd on its most common platforms.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Page sizes that are read: those operating systems have, and bbolt's smallest.
pub(crate) const PAGE_BYTES_READ: std::ops::RangeInclusive<usize> = 1024..=65536;

pub(crate) const PAGE_HEAD_BYTES: usize = 16;
pub(crate) const ELEMENT_BYTES: usize = 16;
pub(crate) const BUCKET_HEAD_BYTES: usize = 16;
/// End of the meta inside its page.
pub(crate) const META_END: usize = 80;
/// Where the meta's checksum stands, and ends what it covers.
const META_SUM: usize = 72;

/// Longest key bbolt takes.
pub(crate) const KEY_BYTES_MAX: usize = 32768;
/// Longest value bbolt takes.
pub(crate) const VALUE_BYTES_MAX: usize = (1 << 31) - 2;
/// A leaf or branch page has fewer elements.
pub(crate) const ELEMENTS_END: usize = 0xffff;

/// Element flag: the value is a bucket.
pub(crate) const BUCKET_FLAG: u32 = 1;
/// Freelist page of a meta without one.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
    Meta,
    Freelist,
}

impl Kind {
    pub(crate) const fn flags(self) -> u16 {
        match self {
            Self::Branch => 0x01,
            Self::Leaf => 0x02,
            Self::Meta => 0x04,
            Self::Freelist => 0x10,
        }
    }

    pub(crate) const fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            0x01 => Some(Self::Branch),
            0x02 => Some(Self::Leaf),
            0x04 => Some(Self::Meta),
            0x10 => Some(Self::Freelist),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Leaf => "leaf",
            Self::Meta => "meta",
            Self::Freelist => "freelist",
        }
    }
}

/// The head of every page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageHead {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl PageHead {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }

    /// Reads the head; `None` if there are too few bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            flags: u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?),
            count: u16::from_le_bytes(*bytes.get(10..)?.first_chunk()?),
            overflow: u32_at(bytes, 12)?,
        })
    }
}

/// The root of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// The first page that was never allocated.
    pub(crate) high_water: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// Appends a meta page without the zeros that fill it.
    pub(crate) fn encode(self, page: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let flags = Kind::Meta.flags();
        PageHead { id: page, flags, count: 0, overflow: 0 }.encode(out);
        for number in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.root, 0, self.freelist, self.high_water, self.txid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv1a(out.get(start + PAGE_HEAD_BYTES..).unwrap_or_default());
        out.extend_from_slice(&sum.to_le_bytes());
    }

    /// Reads the meta of the page that begins here. The error is bbolt's.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "invalid database";
        if u32_at(page, 16) != Some(MAGIC) {
            return Err(SHORT);
        }
        if u32_at(page, 20) != Some(VERSION) {
            return Err("version mismatch");
        }
        let covered = page.get(PAGE_HEAD_BYTES..META_SUM).ok_or(SHORT)?;
        if u64_at(page, META_SUM) != Some(fnv1a(covered)) {
            return Err("checksum error");
        }
        Ok(Self {
            page_bytes: u32_at(page, 24).ok_or(SHORT)?,
            root: u64_at(page, 32).ok_or(SHORT)?,
            freelist: u64_at(page, 48).ok_or(SHORT)?,
            high_water: u64_at(page, 56).ok_or(SHORT)?,
            txid: u64_at(page, 64).ok_or(SHORT)?,
        })
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A length as a number of the format. Lengths are checked before they get here.
pub(crate) fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("lengths of keys, values and pages are below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metas of a backup that real etcd made.
    const FIRST: Meta =
        Meta { page_bytes: 4096, root: 3, freelist: NO_FREELIST, high_water: 5, txid: 10 };

    #[test]
    fn metas_have_the_checksums_of_real_etcd() {
        for (page, meta, sum) in [
            (0, FIRST, 0x0e2d_ce2d_8a16_e72f),
            (1, Meta { txid: 9, ..FIRST }, 0xb13d_7912_6949_08cc),
        ] {
            let mut bytes = Vec::new();
            meta.encode(page, &mut bytes);
            assert_eq!(bytes.len(), META_END);
            assert_eq!(u64_at(&bytes, META_SUM), Some(sum));
            assert_eq!(Meta::decode(&bytes), Ok(meta));
        }
    }

    #[test]
    fn a_damaged_meta_is_told_in_bbolts_order() {
        let mut bytes = Vec::new();
        FIRST.encode(0, &mut bytes);
        for (at, reason) in
            [(30, "checksum error"), (20, "version mismatch"), (16, "invalid database")]
        {
            bytes[at] ^= 1;
            assert_eq!(Meta::decode(&bytes), Err(reason));
        }
        for len in 0..META_END {
            assert!(Meta::decode(&bytes[..len]).is_err());
        }
    }
}
