//! Hides what differs between any two clusters.

/// Replaces `LEASE0`, `LEASE1`, … by the ids granted so far in this run.
pub(crate) fn insert_lease(arg: &str, leases: &[String]) -> String {
    match arg.strip_prefix("LEASE") {
        Some(n) => leases[n.parse::<usize>().expect("LEASE<n>")].clone(),
        None => arg.to_owned(),
    }
}

/// The id in `lease 694d… granted with TTL(…)`.
pub(crate) fn lease_of(stdout: &str) -> Option<String> {
    let mut words = stdout.split_whitespace();
    let granted = words.next() == Some("lease");
    let id = words.next()?;
    (granted && words.next() == Some("granted")).then(|| id.to_owned())
}

/// Masks ids, terms, times, ports and sizes, and nothing else.
pub(crate) fn mask(text: &str) -> String {
    let text: String = text.split_inclusive('\n').map(mask_log_line).collect();
    let text = mask_json_numbers(&text);
    let text = mask_after(&text, "127.0.0.1:");
    let text = mask_after(&text, "\"ClusterID\" : ");
    let text = mask_after(&text, "\"MemberID\" : ");
    let text = mask_after(&text, "\"RaftTerm\" : ");
    text.split_inclusive(['\n', ' ', '(', ')', ','])
        .map(|piece| {
            let end = piece.len() - usize::from(piece.ends_with(['\n', ' ', '(', ')', ',']));
            let (word, separator) = piece.split_at(end);
            let is_id = (8..=16).contains(&word.len())
                && word.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase());
            let is_time = word.ends_with('s')
                && word.starts_with(|c: char| c.is_ascii_digit())
                && word.contains(['m', 'µ', '.']);
            let masked = if is_id {
                "<id>"
            } else if is_time {
                "<time>"
            } else {
                word
            };
            format!("{masked}{separator}")
        })
        .collect()
}

/// Masks the number behind each occurrence of `prefix`.
fn mask_after(text: &str, prefix: &str) -> String {
    let mut pieces = text.split(prefix);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(prefix);
        out.push_str("<n>");
        out.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'));
    }
    out
}

/// Masks the numbers behind the JSON keys that name ids and terms.
fn mask_json_numbers(text: &str) -> String {
    ["cluster_id", "member_id", "raft_term", "memberID", "ID", "lease"]
        .iter()
        .fold(text.to_owned(), |text, key| mask_after(&text, &format!("\"{key}\":")))
}

/// Masks the time and the target of a client's own log line.
fn mask_log_line(line: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(serde_json::Value::Object(mut fields)) if fields.contains_key("ts") => {
            for volatile in ["ts", "target", "endpoint"] {
                fields.remove(volatile);
            }
            let text = serde_json::Value::Object(fields).to_string();
            format!("{}\n", mask_json_numbers(&text))
        }
        _ => line.to_owned(),
    }
}
