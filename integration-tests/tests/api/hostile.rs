//! What a hostile or broken client may send: refused as told, the member goes on, and nothing of
//! it stays in memory.

mod bytes;
mod depth;
mod floods;
mod junk;
mod metadata;
mod resources;
mod values;
