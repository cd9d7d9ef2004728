//! The Prometheus text format, with Go's numbers.

use std::fmt::Write as _;

use super::cell::Reading;

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Labels in the order of their names.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    name: &'static str,
    header: Option<(Kind, &'static str)>,
}

impl Page {
    /// Starts a family; its header is written with the first sample.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.name = name;
        self.header = Some((kind, help));
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: &str) {
        if let Some((kind, help)) = self.header.take() {
            let (name, kind) = (self.name, kind.as_str());
            self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        let name = self.name;
        self.push(format_args!("{name}{suffix}"));
        let mut open = '{';
        for (key, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.push(format_args!("{open}{key}=\"{value}\""));
            open = ',';
        }
        if let Some(le) = le {
            self.push(format_args!("{open}le=\"{le}\""));
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
        self.push(format_args!(" {value}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let written = self.text.write_fmt(text);
        debug_assert!(written.is_ok());
    }

    /// One sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.line("", labels, None, &go_float(value));
    }

    /// A histogram.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, reading: &Reading) {
        for (bound, count) in &reading.rows {
            self.line("_bucket", labels, Some(&go_float(*bound)), &count.to_string());
        }
        let total = reading.total.to_string();
        self.line("_bucket", labels, Some("+Inf"), &total);
        let sum = go_float(reading.sum);
        self.line("_sum", labels, None, &sum);
        self.line("_count", labels, None, &total);
    }
}

/// An integer as a float; precise up to 2^53, like Go's clients.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats by format")]
pub(super) fn to_f64(value: u64) -> f64 {
    value as f64
}

/// The shortest text of a float that reads back equal, with an exponent from 1e+06 and below
/// 1e-04.
pub(super) fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cell::{DISK, Histogram};
    use std::time::Duration;

    #[test]
    fn numbers_are_those_of_go() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (20480.0, "20480"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (2_147_483_648.0, "2.147483648e+09"),
            (1.844_674_407_370_955_2e19, "1.8446744073709552e+19"),
            (0.0001, "0.0001"),
            (0.000_073_13, "7.313e-05"),
            (0.022_053_515, "0.022053515"),
            (8.192, "8.192"),
        ];
        for (value, want) in cases {
            assert_eq!(go_float(value), want);
        }
    }

    #[test]
    fn families_without_samples_leave_no_trace() {
        let mut page = Page::default();
        page.family("a", Kind::Gauge, "nothing");
        page.family("b", Kind::Counter, "something");
        page.sample(&[("x", "a\"b\\\n")], 2.0);
        page.sample(&[], 3.0);
        let want = "# HELP b something\n# TYPE b counter\nb{x=\"a\\\"b\\\\\\n\"} 2\nb 3\n";
        assert_eq!(page.finish(), want);
    }

    #[test]
    fn histograms_are_cumulative() {
        let histogram = Histogram::new(&DISK);
        histogram.observe(Duration::from_millis(3));
        let mut page = Page::default();
        page.family("h", Kind::Histogram, "x");
        page.histogram(&[("l", "v")], &histogram.read());
        let text = page.finish();
        assert!(text.contains("h_bucket{l=\"v\",le=\"0.002\"} 0\n"));
        assert!(text.contains("h_bucket{l=\"v\",le=\"0.004\"} 1\n"));
        assert!(text.ends_with(
            "h_bucket{l=\"v\",le=\"+Inf\"} 1\nh_sum{l=\"v\"} 0.003\nh_count{l=\"v\"} 1\n"
        ));
    }
}
