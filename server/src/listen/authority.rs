//! Requests of old clients that name a URL where HTTP/2 wants a host.
//!
//! The Go client of 3.4 sends `:authority: http://127.0.0.1:2379` for an endpoint written as URL.
//! Go's servers take any text there; the library here ends the stream. So the scheme is cut from
//! the first requests of a connection before the library sees them. The rest of a header block
//! stays as it is: the shorter field makes its entry in the dynamic table smaller, and a decoder
//! that keeps an entry for longer than the encoder knows of is never asked for it.

/// Field 1 of HPACK's static table is `:authority`.
const AUTHORITY: usize = 1;
/// Schemes that are cut.
const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];

/// Cuts the scheme from the authority of a header block, in place. Gives the new length if there
/// was one; whatever is not understood is left for the library to judge.
pub(super) fn cut_scheme(block: &mut [u8]) -> Option<usize> {
    let value = find_authority(block)?;
    let huffman = block[value.start] & 0x80 != 0;
    let text = &block[value.start + 1..value.end];
    let shorter = match huffman {
        true => cut_coded(text)?,
        false => {
            let scheme = SCHEMES.iter().find(|scheme| text.starts_with(scheme))?;
            text[scheme.len()..].to_vec()
        }
    };
    let length = u8::try_from(shorter.len()).ok().filter(|length| *length < 0x7f)?;
    block[value.start] = length | if huffman { 0x80 } else { 0 };
    let end = value.start + 1 + shorter.len();
    block[value.start + 1..end].copy_from_slice(&shorter);
    block.copy_within(value.end.., end);
    Some(block.len() - (value.end - end))
}

/// Where the literal value of `:authority` is, its length byte included.
fn find_authority(block: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        let prefix_bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let (index, next) = integer(block, at, prefix_bits)?;
        at = next;
        if matches!(first, 0x80.. | 0x20..0x40) {
            continue;
        }
        if index == 0 {
            at = string(block, at)?;
        }
        let end = string(block, at)?;
        if index == AUTHORITY {
            // A longer value than one byte of length can tell has no business here.
            return (block[at] & 0x7f != 0x7f).then_some(at..end);
        }
        at = end;
    }
    None
}

/// The end of the string that begins at `at`.
fn string(block: &[u8], at: usize) -> Option<usize> {
    let (length, start) = integer(block, at, 7)?;
    start.checked_add(length).filter(|end| *end <= block.len())
}

/// HPACK's integer with a prefix of so many bits, and where it ends.
fn integer(block: &[u8], at: usize, prefix_bits: u32) -> Option<(usize, usize)> {
    let most = (1 << prefix_bits) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// HPACK's Huffman code of what authorities are made of: character, code, bits.
const CODE: &[(u8, u16, u8)] = &[
    (b'0', 0x0, 5),
    (b'1', 0x1, 5),
    (b'2', 0x2, 5),
    (b'a', 0x3, 5),
    (b'c', 0x4, 5),
    (b'e', 0x5, 5),
    (b'i', 0x6, 5),
    (b'o', 0x7, 5),
    (b's', 0x8, 5),
    (b't', 0x9, 5),
    (b'-', 0x16, 6),
    (b'.', 0x17, 6),
    (b'/', 0x18, 6),
    (b'3', 0x19, 6),
    (b'4', 0x1a, 6),
    (b'5', 0x1b, 6),
    (b'6', 0x1c, 6),
    (b'7', 0x1d, 6),
    (b'8', 0x1e, 6),
    (b'9', 0x1f, 6),
    (b'A', 0x21, 6),
    (b'_', 0x22, 6),
    (b'b', 0x23, 6),
    (b'd', 0x24, 6),
    (b'f', 0x25, 6),
    (b'g', 0x26, 6),
    (b'h', 0x27, 6),
    (b'l', 0x28, 6),
    (b'm', 0x29, 6),
    (b'n', 0x2a, 6),
    (b'p', 0x2b, 6),
    (b'r', 0x2c, 6),
    (b'u', 0x2d, 6),
    (b':', 0x5c, 7),
    (b'B', 0x5d, 7),
    (b'C', 0x5e, 7),
    (b'D', 0x5f, 7),
    (b'E', 0x60, 7),
    (b'F', 0x61, 7),
    (b'j', 0x74, 7),
    (b'k', 0x75, 7),
    (b'q', 0x76, 7),
    (b'v', 0x77, 7),
    (b'w', 0x78, 7),
    (b'x', 0x79, 7),
    (b'y', 0x7a, 7),
    (b'z', 0x7b, 7),
    (b'[', 0x1ffb, 13),
    (b']', 0x1ffd, 13),
];

/// Bits of a coded text from `from` on, as many as `count`.
fn bits(coded: &[u8], from: usize, count: usize) -> Option<u16> {
    let bit = |at: usize| Some(u16::from(coded.get(at / 8)? >> (7 - at % 8) & 1));
    (from..from + count).try_fold(0, |value, at| Some(value << 1 | bit(at)?))
}

/// The coded text without its scheme.
fn cut_coded(coded: &[u8]) -> Option<Vec<u8>> {
    let (mut text, mut at, mut ends) = (Vec::new(), 0, Vec::new());
    let found = |at: usize| {
        CODE.iter().find(|(_, code, count)| bits(coded, at, usize::from(*count)) == Some(*code))
    };
    while let Some((character, _, count)) = found(at) {
        text.push(*character);
        at += usize::from(*count);
        ends.push(at);
    }
    // What is left is padding: fewer than eight ones.
    let padding = coded.len() * 8 - at;
    if padding >= 8 || (0..padding).any(|i| bits(coded, at + i, 1) != Some(1)) {
        return None;
    }
    let scheme = SCHEMES.iter().find(|scheme| text.starts_with(scheme))?;
    let start = ends[scheme.len() - 1];
    let mut out = vec![0xff; (at - start).div_ceil(8)];
    for (to, from) in (start..at).enumerate() {
        if bits(coded, from, 1) == Some(0) {
            out[to / 8] &= !(0x80 >> (to % 8));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with this authority, between an indexed field and a literal one.
    fn block(value: &[u8], huffman: bool) -> Vec<u8> {
        let mut block = vec![0x83, 0x41, value.len() as u8 | if huffman { 0x80 } else { 0 }];
        block.extend_from_slice(value);
        block.extend_from_slice(b"\x00\x02te\x08trailers\x86");
        block
    }

    fn coded(text: &str) -> Vec<u8> {
        let (mut out, mut free) = (Vec::new(), 0);
        for character in text.bytes() {
            let (_, code, count) = CODE.iter().find(|c| c.0 == character).expect("in the table");
            for bit in (0..*count).rev() {
                if free == 0 {
                    out.push(0xff);
                    free = 8;
                }
                free -= 1;
                if code >> bit & 1 == 0 {
                    *out.last_mut().expect("pushed above") &= !(1 << free);
                }
            }
        }
        out
    }

    fn cut(mut block: Vec<u8>) -> Option<Vec<u8>> {
        let length = cut_scheme(&mut block)?;
        block.truncate(length);
        Some(block)
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // RFC 7541, C.4.1.
        let expected = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(coded("www.example.com"), expected);
    }

    #[test]
    fn the_scheme_is_cut_and_the_rest_stays() {
        for host in ["127.0.0.1:2379", "[::1]:2379", "etcd-0.etcd.kube-system.svc:2379", "a"] {
            for scheme in ["http://", "https://"] {
                let url = format!("{scheme}{host}");
                let plain = cut(block(url.as_bytes(), false));
                assert_eq!(plain, Some(block(host.as_bytes(), false)), "{url}");
                assert_eq!(
                    cut(block(&coded(&url), true)),
                    Some(block(&coded(host), true)),
                    "{url}"
                );
            }
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        assert_eq!(cut(block(b"127.0.0.1:2379", false)), None);
        assert_eq!(cut(block(&coded("127.0.0.1:2379"), true)), None);
        // An unknown character, padding of zeros, a string beyond the end, nothing at all.
        assert_eq!(cut(block(&[0xff, 0xff, 0xff], true)), None);
        assert_eq!(cut(block(&[0x9d, 0x29, 0x00], true)), None);
        assert_eq!(cut(vec![0x41, 0x7e, b'h']), None);
        assert_eq!(cut(Vec::new()), None);
        // Any bytes at all do no harm.
        let mut state = 1u32;
        for length in 0..600 {
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            let noise: Vec<u8> = (0..length % 60).map(|_| random()).collect();
            drop(cut(noise));
        }
    }
}
