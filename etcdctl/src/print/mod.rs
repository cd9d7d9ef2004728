//! Printers: pure functions from a reply to the bytes written on standard output.
//!
//! ```text
//! Reply ──▶ simple | fields | json | protobuf | table ──▶ Vec<u8>
//! ```
//! Every printer is one exhaustive match over [`Reply`], so a new reply does not build until
//! each format has said what it prints, or that it does not support it.

mod fields;
mod json;
mod json_text;
mod protobuf;
mod reply;
mod simple;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use json_text::{Object, push_log_string};
pub(crate) use reply::{
    EndpointHashKv, EndpointHealth, EndpointStatus, MemberChange, Reply, WatchReply, alarm_name,
    lease_name,
};
pub(crate) use simple::health_line;

/// The values of `--write-out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Plain lines.
    Simple,
    /// One `"Name" : value` per line.
    Fields,
    /// One line of JSON.
    Json,
    /// The serialized message.
    Protobuf,
    /// A table with ASCII borders.
    Table,
}

impl Format {
    /// Reads the value of `--write-out`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "simple" => Format::Simple,
            "fields" => Format::Fields,
            "json" => Format::Json,
            "protobuf" => Format::Protobuf,
            "table" => Format::Table,
            _ => return None,
        })
    }

    /// The name as given to `--write-out`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Simple => "simple",
            Format::Fields => "fields",
            Format::Json => "json",
            Format::Protobuf => "protobuf",
            Format::Table => "table",
        }
    }
}

/// How replies are to be printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// The value of `--write-out`.
    pub(crate) format: Format,
    /// The value of `--hex`.
    pub(crate) hex: bool,
}

/// The reply cannot be printed in this format.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    /// The whole error text.
    pub(crate) text: String,
}

/// Renders `reply`; the answer ends with the newline owed, if any.
pub(crate) fn render(style: Style, reply: &Reply<'_>) -> Result<Vec<u8>, Unsupported> {
    let printed = match style.format {
        Format::Simple => Some(simple::render(reply, style.hex)),
        Format::Fields => fields::render(reply, style.hex),
        Format::Json => Some(json::render(reply, style.hex)),
        Format::Protobuf => return protobuf::render(reply),
        Format::Table => table::render(reply),
    };
    printed.ok_or_else(|| unsupported(style.format))
}

fn unsupported(format: Format) -> Unsupported {
    Unsupported { text: format!("{} not supported as output format", format.name()) }
}
