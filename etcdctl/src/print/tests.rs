//! Golden texts of every printer, with the ids and revisions of the output contract.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb;

use super::*;

const CLUSTER: u64 = 7_217_500_634_152_954_738;
const MEMBER: u64 = 13_330_065_505_997_096_350;
const LEASE: i64 = 0x059e_a202_94f3_8d79;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: CLUSTER, member_id: MEMBER, revision, raft_term: 2 })
}

fn json_header(revision: i64) -> String {
    let revision = if revision == 0 { String::new() } else { format!("\"revision\":{revision},") };
    format!("{{\"cluster_id\":{CLUSTER},\"member_id\":{MEMBER},{revision}\"raft_term\":2}}")
}

fn fields_header(revision: i64) -> String {
    let revision =
        if revision == 0 { String::new() } else { format!("\"Revision\" : {revision}\n") };
    format!("\"ClusterID\" : {CLUSTER}\n\"MemberID\" : {MEMBER}\n{revision}\"RaftTerm\" : 2\n")
}

fn foo() -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::from_static(b"foo"),
        create_revision: 2,
        mod_revision: 15,
        version: 10,
        value: Bytes::from_static(b"bar9"),
        lease: 0,
    }
}

#[track_caller]
fn check(format: Format, reply: &Reply<'_>, expected: &str) {
    check_style(Style { format, hex: false }, reply, expected);
}

#[track_caller]
fn check_hex(format: Format, reply: &Reply<'_>, expected: &str) {
    check_style(Style { format, hex: true }, reply, expected);
}

#[track_caller]
fn check_style(style: Style, reply: &Reply<'_>, expected: &str) {
    let printed = render(style, reply).unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(String::from_utf8_lossy(&printed), expected);
}

#[track_caller]
fn check_refused(format: Format, reply: &Reply<'_>, expected: &str) {
    let refused = render(Style { format, hex: false }, reply).expect_err("refused");
    assert_eq!(refused.text, expected);
}

#[test]
fn put_prints_ok_and_the_previous_pair() {
    let plain = pb::PutResponse { header: header(10), prev_kv: None };
    check(Format::Simple, &Reply::Put(&plain), "OK\n");
    check(Format::Json, &Reply::Put(&plain), &format!("{{\"header\":{}}}\n", json_header(10)));
    check(Format::Fields, &Reply::Put(&plain), &fields_header(10));
    check_refused(Format::Table, &Reply::Put(&plain), "table not supported as output format");

    let previous = pb::PutResponse { header: header(16), prev_kv: Some(foo()) };
    check(Format::Simple, &Reply::Put(&previous), "OK\nfoo\nbar9\n");
    check_hex(
        Format::Simple,
        &Reply::Put(&previous),
        "OK\n\\x66\\x6f\\x6f\n\\x62\\x61\\x72\\x39\n",
    );
    let fields = "\"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 15\n\
                  \"PrevVersion\" : 10\n\"PrevValue\" : \"bar9\"\n\"PrevLease\" : 0\n";
    check(Format::Fields, &Reply::Put(&previous), &(fields_header(16) + fields));
    let json = format!(
        "{{\"header\":{},\"prev_kv\":{{\"key\":\"Zm9v\",\"create_revision\":2,\
         \"mod_revision\":15,\"version\":10,\"value\":\"YmFyOQ==\"}}}}\n",
        json_header(16)
    );
    check(Format::Json, &Reply::Put(&previous), &json);
}

#[test]
fn put_in_protobuf_is_the_message_alone() {
    let plain = pb::PutResponse { header: header(10), prev_kv: None };
    let bytes = render(Style { format: Format::Protobuf, hex: false }, &Reply::Put(&plain));
    let hex: String = bytes.expect("bytes").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "0a1908f2d6dfc6e3d2ed9464109e8b94adbbfef9feb801180a2002");
}

#[test]
fn get_prints_pairs() {
    let response =
        pb::RangeResponse { header: header(15), kvs: vec![foo()], more: false, count: 1 };
    let reply = Reply::Get { response: &response, value_only: false };
    check(Format::Simple, &reply, "foo\nbar9\n");
    check(Format::Simple, &Reply::Get { response: &response, value_only: true }, "bar9\n");
    let pair = "\"Key\" : \"foo\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 15\n\
                \"Version\" : 10\n\"Value\" : \"bar9\"\n";
    let tail = "\"More\" : false\n\"Count\" : 1\n";
    let fields = format!("{}{pair}\"Lease\" : 0\n{tail}", fields_header(15));
    check(Format::Fields, &reply, &fields);
    let hex_header = "\"ClusterID\" : 6429b69638d7eb72\n\"MemberID\" : b8fde7f3b5a5059e\n\
                      \"Revision\" : 15\n\"RaftTerm\" : 2\n";
    let fields = format!("{hex_header}{pair}\"Lease\" : 0000000000000000\n{tail}");
    check_hex(Format::Fields, &reply, &fields);
    let json = format!(
        "{{\"header\":{},\"kvs\":[{{\"key\":\"Zm9v\",\"create_revision\":2,\"mod_revision\":15,\
         \"version\":10,\"value\":\"YmFyOQ==\"}}],\"count\":1}}\n",
        json_header(15)
    );
    check(Format::Json, &reply, &json);
}

#[test]
fn get_of_nothing_prints_nothing_and_of_keys_prints_blank_values() {
    let none = pb::RangeResponse { header: header(15), ..Default::default() };
    let reply = Reply::Get { response: &none, value_only: false };
    check(Format::Simple, &reply, "");
    check(Format::Json, &reply, &format!("{{\"header\":{}}}\n", json_header(15)));

    let key = |key: &'static str| mvccpb::KeyValue { key: key.into(), ..Default::default() };
    let keys = pb::RangeResponse {
        header: header(15),
        kvs: vec![key("a"), key("foo")],
        more: true,
        count: 3,
    };
    let reply = Reply::Get { response: &keys, value_only: false };
    check(Format::Simple, &reply, "a\n\nfoo\n\n");
    check_hex(Format::Simple, &reply, "\\x61\n\n\\x66\\x6f\\x6f\n\n");
    let json = format!(
        "{{\"header\":{},\"kvs\":[{{\"key\":\"YQ==\"}},{{\"key\":\"Zm9v\"}}],\
         \"more\":true,\"count\":3}}\n",
        json_header(15)
    );
    check(Format::Json, &reply, &json);
}

#[test]
fn del_prints_the_count_and_the_deleted_pairs() {
    let response =
        pb::DeleteRangeResponse { header: header(16), deleted: 1, prev_kvs: vec![foo()] };
    check(Format::Simple, &Reply::Delete(&response), "1\nfoo\nbar9\n");
    let json = format!(
        "{{\"header\":{},\"deleted\":1,\"prev_kvs\":[{{\"key\":\"Zm9v\",\"create_revision\":2,\
         \"mod_revision\":15,\"version\":10,\"value\":\"YmFyOQ==\"}}]}}\n",
        json_header(16)
    );
    check(Format::Json, &Reply::Delete(&response), &json);
    let none = pb::DeleteRangeResponse { header: header(16), ..Default::default() };
    check(Format::Simple, &Reply::Delete(&none), "0\n");
    check(Format::Fields, &Reply::Delete(&none), &(fields_header(16) + "\"Deleted\" : 0\n"));
}

fn txn() -> pb::TxnResponse {
    let inner = Some(pb::ResponseHeader { revision: 37, ..Default::default() });
    let pair = |key: &'static str, value: &'static str| mvccpb::KeyValue {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    };
    let put = pb::PutResponse { header: inner, prev_kv: Some(pair("p4", "x")) };
    let range =
        pb::RangeResponse { header: inner, kvs: vec![pair("p1", "new")], more: false, count: 1 };
    let delete = pb::DeleteRangeResponse { header: inner, ..Default::default() };
    let operation = |response| pb::ResponseOp { response: Some(response) };
    pb::TxnResponse {
        header: header(37),
        succeeded: false,
        responses: vec![
            operation(Response::ResponsePut(put)),
            operation(Response::ResponseRange(range)),
            operation(Response::ResponseDeleteRange(delete)),
        ],
    }
}

#[test]
fn txn_prints_its_branch_and_each_operation() {
    let response = txn();
    let reply = Reply::Txn(&response);
    check(Format::Simple, &reply, "FAILURE\n\nOK\np4\nx\n\np1\nnew\n\n0\n");
    let json = format!(
        "{{\"header\":{},\"responses\":[\
         {{\"Response\":{{\"response_put\":{{\"header\":{{\"revision\":37}},\
         \"prev_kv\":{{\"key\":\"cDQ=\",\"value\":\"eA==\"}}}}}}}},\
         {{\"Response\":{{\"response_range\":{{\"header\":{{\"revision\":37}},\
         \"kvs\":[{{\"key\":\"cDE=\",\"value\":\"bmV3\"}}],\"count\":1}}}}}},\
         {{\"Response\":{{\"response_delete_range\":{{\"header\":{{\"revision\":37}}}}}}}}]}}\n",
        json_header(37)
    );
    check(Format::Json, &reply, &json);
    let empty = pb::TxnResponse { header: header(37), succeeded: true, responses: vec![] };
    check(Format::Simple, &Reply::Txn(&empty), "SUCCESS\n");
    let json = format!("{{\"header\":{},\"succeeded\":true}}\n", json_header(37));
    check(Format::Json, &Reply::Txn(&empty), &json);
    let inner = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 37\n\"RaftTerm\" : 0\n";
    let head = fields_header(37) + "\"Succeeded\" : false\n" + inner + "\"PrevKey\" : \"p4\"\n";
    let printed = render(Style { format: Format::Fields, hex: false }, &reply).expect("fields");
    assert!(String::from_utf8_lossy(&printed).starts_with(&head));
}

#[test]
fn watch_prints_events() {
    let put = mvccpb::Event {
        r#type: 0,
        kv: Some(mvccpb::KeyValue {
            key: "w1".into(),
            create_revision: 54,
            mod_revision: 54,
            version: 1,
            value: "a".into(),
            lease: 0,
        }),
        prev_kv: None,
    };
    let delete = mvccpb::Event {
        r#type: 1,
        kv: Some(mvccpb::KeyValue { key: "w1".into(), mod_revision: 56, ..Default::default() }),
        prev_kv: put.kv.clone(),
    };
    let response = WatchReply {
        header: header(56).unwrap_or_default(),
        events: vec![put, delete],
        ..Default::default()
    };
    let reply = Reply::Watch(&response);
    check(Format::Simple, &reply, "PUT\nw1\na\nDELETE\nw1\na\nw1\n\n");
    let json = format!(
        "{{\"Header\":{},\"Events\":[{{\"kv\":{{\"key\":\"dzE=\",\"create_revision\":54,\
         \"mod_revision\":54,\"version\":1,\"value\":\"YQ==\"}}}},{{\"type\":1,\
         \"kv\":{{\"key\":\"dzE=\",\"mod_revision\":56}},\"prev_kv\":{{\"key\":\"dzE=\",\
         \"create_revision\":54,\"mod_revision\":54,\"version\":1,\"value\":\"YQ==\"}}}}],\
         \"CompactRevision\":0,\"Canceled\":false,\"Created\":false,\"CancelReason\":\"\"}}\n",
        json_header(56)
    );
    check(Format::Json, &reply, &json);
    let compacted = WatchReply { compact_revision: 49, canceled: true, ..Default::default() };
    let json = "{\"Header\":{},\"Events\":null,\"CompactRevision\":49,\"Canceled\":true,\
                \"Created\":false,\"CancelReason\":\"\"}\n";
    check(Format::Json, &Reply::Watch(&compacted), json);
    check_refused(Format::Table, &reply, "table not supported as output format");
}

#[test]
fn lease_commands_print_ids_in_sixteen_digits() {
    let grant =
        pb::LeaseGrantResponse { header: header(40), id: LEASE, ttl: 60, error: String::new() };
    check(Format::Simple, &Reply::Grant(&grant), "lease 059ea20294f38d79 granted with TTL(60s)\n");
    let flat = json_header(40);
    let flat = flat.trim_end_matches('}');
    check(
        Format::Json,
        &Reply::Grant(&grant),
        &format!("{flat},\"ID\":{LEASE},\"TTL\":60,\"Error\":\"\"}}\n"),
    );
    check(
        Format::Fields,
        &Reply::Grant(&grant),
        &(fields_header(40) + &format!("\"ID\" : {LEASE}\n\"TTL\" : 60\n")),
    );
    let revoke = pb::LeaseRevokeResponse { header: header(40) };
    let reply = Reply::Revoke { id: LEASE, response: &revoke };
    check(Format::Simple, &reply, "lease 059ea20294f38d79 revoked\n");
    check(Format::Json, &reply, &format!("{{\"header\":{}}}\n", json_header(40)));
    let renewed = pb::LeaseKeepAliveResponse { header: header(40), id: LEASE, ttl: 500 };
    check(
        Format::Simple,
        &Reply::KeepAlive(&renewed),
        "lease 059ea20294f38d79 keepalived with TTL(500)\n",
    );
    check(
        Format::Json,
        &Reply::KeepAlive(&renewed),
        &format!("{flat},\"ID\":{LEASE},\"TTL\":500}}\n"),
    );
    let leases = pb::LeaseLeasesResponse {
        header: header(40),
        leases: vec![pb::LeaseStatus { id: LEASE }, pb::LeaseStatus { id: 1 }],
    };
    check(
        Format::Simple,
        &Reply::Leases(&leases),
        "found 2 leases\n059ea20294f38d79\n0000000000000001\n",
    );
    check(
        Format::Json,
        &Reply::Leases(&leases),
        &format!("{flat},\"leases\":[{{\"id\":{LEASE}}},{{\"id\":1}}]}}\n"),
    );
    let none = pb::LeaseLeasesResponse { header: header(40), leases: vec![] };
    check(Format::Json, &Reply::Leases(&none), &format!("{flat},\"leases\":null}}\n"));
}

#[test]
fn time_to_live_tells_a_lease_from_one_that_is_gone() {
    let mut response = pb::LeaseTimeToLiveResponse {
        header: header(40),
        id: LEASE,
        ttl: 499,
        granted_ttl: 500,
        keys: vec![],
    };
    fn plain(response: &pb::LeaseTimeToLiveResponse) -> Reply<'_> {
        Reply::TimeToLive { response, keys: false }
    }
    check(
        Format::Simple,
        &plain(&response),
        "lease 059ea20294f38d79 granted with TTL(500s), remaining(499s)\n",
    );
    let flat = json_header(40);
    let flat = flat.trim_end_matches('}');
    let json = format!("{flat},\"id\":{LEASE},\"ttl\":499,\"granted-ttl\":500,\"keys\":null}}\n");
    check(Format::Json, &plain(&response), &json);
    response.keys = vec!["lk2".into(), "lk1".into()];
    check(
        Format::Simple,
        &Reply::TimeToLive { response: &response, keys: true },
        "lease 059ea20294f38d79 granted with TTL(500s), remaining(499s), \
         attached keys([lk2 lk1])\n",
    );
    let keys = "\"GrantedTTL\" : 500\n\"Key\" : \"lk2\"\n\"Key\" : \"lk1\"\n";
    let fields = format!("{}\"ID\" : {LEASE}\n\"TTL\" : 499\n{keys}", fields_header(40));
    check(Format::Fields, &plain(&response), &fields);
    let gone = pb::LeaseTimeToLiveResponse {
        header: header(40),
        id: LEASE,
        ttl: -1,
        ..Default::default()
    };
    check(Format::Simple, &plain(&gone), "lease 059ea20294f38d79 already expired\n");
}

fn members() -> pb::MemberListResponse {
    let member = |id, name: &str, port: u16, client: &[&str], is_learner| pb::Member {
        id,
        name: name.to_owned(),
        peer_ur_ls: vec![format!("http://127.0.0.1:{port}")],
        client_ur_ls: client.iter().map(ToString::to_string).collect(),
        is_learner,
    };
    pb::MemberListResponse {
        header: header(0),
        members: vec![
            member(0x703a_bbd0_d724_7fc8, "", 30390, &[], true),
            member(MEMBER, "n1", 30380, &["http://127.0.0.1:30379"], false),
        ],
    }
}

#[test]
fn members_print_as_rows_and_as_a_table() {
    let response = members();
    let reply = Reply::Members(&response);
    check(
        Format::Simple,
        &reply,
        "703abbd0d7247fc8, unstarted, , http://127.0.0.1:30390, , true\n\
         b8fde7f3b5a5059e, started, n1, http://127.0.0.1:30380, http://127.0.0.1:30379, false\n",
    );
    check(Format::Table, &reply, include_str!("../../tests/golden/member-list-table.txt"));
    let single = pb::MemberListResponse { members: response.members[1..].to_vec(), ..response };
    let reply = Reply::Members(&single);
    let json = "{\"header\":{\"cluster_id\":\"6429b69638d7eb72\",\
                \"member_id\":\"b8fde7f3b5a5059e\",\"raft_term\":2},\
                \"members\":[{\"ID\":\"b8fde7f3b5a5059e\",\"name\":\"n1\",\
                \"peerURLs\":[\"http://127.0.0.1:30380\"],\
                \"clientURLs\":[\"http://127.0.0.1:30379\"]}]}\n";
    check_hex(Format::Json, &reply, json);
    let plain = json
        .replace("\"6429b69638d7eb72\"", &CLUSTER.to_string())
        .replace("\"b8fde7f3b5a5059e\"", &MEMBER.to_string());
    check(Format::Json, &reply, &plain);
    let fields = format!(
        "{}\"ID\" : {MEMBER}\n\"Name\" : \"n1\"\n\"PeerURL\" : \"http://127.0.0.1:30380\"\n\
         \"ClientURL\" : \"http://127.0.0.1:30379\"\n\"IsLearner\" : false\n\n",
        fields_header(0)
    );
    check(Format::Fields, &reply, &fields);
}

#[test]
fn member_add_prints_what_the_new_member_wants_to_be_started_with() {
    let learner = members().members[0].clone();
    let mut response = pb::MemberAddResponse {
        header: header(0),
        member: Some(learner),
        members: members().members,
    };
    fn reply(response: &pb::MemberAddResponse) -> Reply<'_> {
        let peer_urls = "http://127.0.0.1:30390";
        Reply::MemberAdd { name: "lrn", peer_urls, response }
    }
    let block = "\nETCD_NAME=\"lrn\"\n\
                 ETCD_INITIAL_CLUSTER=\"lrn=http://127.0.0.1:30390,n1=http://127.0.0.1:30380\"\n\
                 ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://127.0.0.1:30390\"\n\
                 ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
    let line = "Member 703abbd0d7247fc8 added as learner to cluster 6429b69638d7eb72\n";
    check(Format::Simple, &reply(&response), &format!("{line}{block}"));
    let member = "{\"ID\":8086982586534232008,\"peerURLs\":[\"http://127.0.0.1:30390\"],\
                  \"isLearner\":true}";
    let started = format!(
        "{{\"ID\":{MEMBER},\"name\":\"n1\",\"peerURLs\":[\"http://127.0.0.1:30380\"],\
         \"clientURLs\":[\"http://127.0.0.1:30379\"]}}"
    );
    let json = format!(
        "{{\"header\":{},\"member\":{member},\"members\":[{member},{started}]}}\n",
        json_header(0)
    );
    check(Format::Json, &reply(&response), &json);
    let hex = json
        .replace(&CLUSTER.to_string(), "\"6429b69638d7eb72\"")
        .replace(&MEMBER.to_string(), "\"b8fde7f3b5a5059e\"")
        .replace("8086982586534232008", "\"703abbd0d7247fc8\"");
    check_hex(Format::Json, &reply(&response), &hex);
    check_refused(Format::Fields, &reply(&response), "fields not supported as output format");
    check_refused(Format::Table, &reply(&response), "table not supported as output format");

    // A voter with a short id, in a cluster with one: ids stand in 16 columns.
    response.header = header(0).map(|h| pb::ResponseHeader { cluster_id: 0xa4e, ..h });
    response.members[0] =
        pb::Member { id: 0xc46f, is_learner: false, ..members().members[0].clone() };
    response.member = Some(response.members[0].clone());
    let line = "Member             c46f added to cluster              a4e\n";
    check(Format::Simple, &reply(&response), &format!("{line}{block}"));
}

#[test]
fn other_changes_of_members_print_a_line_or_who_is_left() {
    let response = members();
    for (change, words) in [
        (MemberChange::Promoted, "promoted in"),
        (MemberChange::Removed, "removed from"),
        (MemberChange::Updated, "updated in"),
    ] {
        let reply = Reply::MemberChanged { change, id: 0xc46f, response: &response };
        let line = format!("Member             c46f {words} cluster 6429b69638d7eb72\n");
        check(Format::Simple, &reply, &line);
        let list = render(Style { format: Format::Json, hex: true }, &Reply::Members(&response));
        let list = String::from_utf8(list.expect("JSON")).expect("text");
        check_hex(Format::Json, &reply, &list);
        check_refused(Format::Fields, &reply, "fields not supported as output format");
        check_refused(Format::Table, &reply, "table not supported as output format");
    }
    let none = pb::MemberListResponse { header: header(0), members: vec![] };
    let reply = Reply::MemberChanged { change: MemberChange::Removed, id: 1, response: &none };
    check(Format::Json, &reply, &format!("{{\"header\":{}}}\n", json_header(0)));
}

#[test]
fn move_leader_prints_ids_without_padding() {
    let response = pb::MoveLeaderResponse::default();
    let (leader, target) = (0x377b_44e0_8469_f1db, 0x07a7_84d5_b90b_77f7);
    let reply = Reply::MoveLeader { leader, target, response: &response };
    let line = "Leadership transferred from 377b44e08469f1db to 7a784d5b90b77f7\n";
    check(Format::Simple, &reply, line);
    check(Format::Json, &reply, "{}\n");
    check(Format::Protobuf, &reply, "");
    check_refused(Format::Fields, &reply, "fields not supported as output format");
    check_refused(Format::Table, &reply, "table not supported as output format");
}

#[test]
fn alarms_print_one_per_line() {
    let response = pb::AlarmResponse {
        header: header(40),
        alarms: vec![pb::AlarmMember { member_id: 11_824_968_786_576_155_146, alarm: 1 }],
    };
    let reply = Reply::Alarms(&response);
    check(Format::Simple, &reply, "memberID:11824968786576155146 alarm:NOSPACE\n");
    let json = format!(
        "{{\"header\":{},\"alarms\":[{{\"memberID\":11824968786576155146,\"alarm\":1}}]}}\n",
        json_header(40)
    );
    check(Format::Json, &reply, &json);
    check(Format::Json, &Reply::Alarms(&pb::AlarmResponse::default()), "{}\n");
    let fields = "\"MemberID\" : 11824968786576155146\n\"AlarmType\" : NOSPACE\n\n";
    check(Format::Fields, &reply, &(fields_header(40) + fields));
}

#[test]
fn health_prints_endpoints() {
    let row = |port: u16, health, took: &str, error: &str| EndpointHealth {
        endpoint: format!("127.0.0.1:{port}"),
        health,
        took: took.to_owned(),
        error: error.to_owned(),
    };
    let rows = [
        row(32479, true, "4.162887ms", ""),
        row(33479, false, "2.000683942s", "context deadline exceeded"),
    ];
    let reply = Reply::Health(&rows);
    check(
        Format::Simple,
        &reply,
        "127.0.0.1:32479 is healthy: successfully committed proposal: took = 4.162887ms\n\
         127.0.0.1:33479 is unhealthy: failed to commit proposal: context deadline exceeded\n",
    );
    check(
        Format::Json,
        &reply,
        "[{\"endpoint\":\"127.0.0.1:32479\",\"health\":true,\"took\":\"4.162887ms\"},\
         {\"endpoint\":\"127.0.0.1:33479\",\"health\":false,\"took\":\"2.000683942s\",\
         \"error\":\"context deadline exceeded\"}]\n",
    );
    check(
        Format::Fields,
        &Reply::Health(&rows[..1]),
        "\"Endpoint\" : \"127.0.0.1:32479\"\n\"Health\" : true\n\"Took\" : 4.162887ms\n\
         \"Error\" : \n\n",
    );
    check(Format::Table, &reply, include_str!("../../tests/golden/endpoint-health-table.txt"));
    let refused = "protobuf not supported as output format";
    check_refused(Format::Protobuf, &reply, refused);
}

fn status() -> EndpointStatus {
    EndpointStatus {
        endpoint: "127.0.0.1:30379".to_owned(),
        status: pb::StatusResponse {
            header: header(1),
            version: "3.7.1".to_owned(),
            db_size: 24_576,
            leader: MEMBER,
            raft_index: 6,
            raft_term: 2,
            raft_applied_index: 6,
            errors: vec![],
            db_size_in_use: 20_480,
            is_learner: false,
            storage_version: "3.7.0".to_owned(),
            db_size_quota: 2_147_483_648,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        },
    }
}

#[test]
fn status_prints_sixteen_items() {
    let rows = [status()];
    let reply = Reply::Status(&rows);
    check(
        Format::Simple,
        &reply,
        "127.0.0.1:30379, b8fde7f3b5a5059e, 3.7.1, 3.7.0, 25 kB, 20 kB, 17%, 2.1 GB, true, \
         false, 2, 6, 6, , , false\n",
    );
    let json = format!(
        "[{{\"Endpoint\":\"127.0.0.1:30379\",\"Status\":{{\"header\":{},\"version\":\"3.7.1\",\
         \"dbSize\":24576,\"leader\":{MEMBER},\"raftIndex\":6,\"raftTerm\":2,\
         \"raftAppliedIndex\":6,\"dbSizeInUse\":20480,\"storageVersion\":\"3.7.0\",\
         \"dbSizeQuota\":2147483648,\"downgradeInfo\":{{}}}}}}]\n",
        json_header(1)
    );
    check(Format::Json, &reply, &json);
    let fields = format!(
        "{}\"Version\" : \"3.7.1\"\n\"StorageVersion\" : \"3.7.0\"\n\"DBSize\" : 24576\n\
         \"DBSizeInUse\" : 20480\n\"DBSizeQuota\" : 2147483648\n\"Leader\" : {MEMBER}\n\
         \"IsLearner\" : false\n\"RaftIndex\" : 6\n\"RaftTerm\" : 2\n\"RaftAppliedIndex\" : 6\n\
         \"Errors\" : []\n\"Endpoint\" : \"127.0.0.1:30379\"\n\"DowngradeTargetVersion\" : \"\"\n\
         \"DowngradeEnabled\" : false\n\n",
        fields_header(1)
    );
    check(Format::Fields, &reply, &fields);
    check(Format::Table, &reply, include_str!("../../tests/golden/endpoint-status-table.txt"));
    check(Format::Json, &Reply::Status(&[]), "null\n");
}

#[test]
fn hash_kv_prints_hash_and_revision() {
    let rows = [EndpointHashKv {
        endpoint: "127.0.0.1:30379".to_owned(),
        hash_kv: pb::HashKvResponse {
            header: header(1),
            hash: 1_084_519_789,
            compact_revision: -1,
            hash_revision: 1,
        },
    }];
    let reply = Reply::HashKv(&rows);
    check(Format::Simple, &reply, "127.0.0.1:30379, 1084519789, 1\n");
    let json = format!(
        "[{{\"Endpoint\":\"127.0.0.1:30379\",\"HashKV\":{{\"header\":{},\"hash\":1084519789,\
         \"compact_revision\":-1,\"hash_revision\":1}}}}]\n",
        json_header(1)
    );
    check(Format::Json, &reply, &json);
    let fields = "\"Endpoint\" : \"127.0.0.1:30379\"\n\"Hash\" : 1084519789\n\
                  \"HashRevision\" : 1\n\n";
    check(Format::Fields, &reply, &(fields_header(1) + fields));
}

#[test]
fn snapshot_status_prints_what_it_did_before_it_moved() {
    let status = snapshot::Status {
        hash: 0x6ebb_8db0,
        revision: 65,
        live_keys: 5,
        rows: 80,
        size_bytes: 28_672,
        version: "3.7.0".to_owned(),
    };
    let reply = Reply::SnapshotStatus(&status);
    check(Format::Simple, &reply, "6ebb8db0, 65, 80, 29 kB\n");
    let json = "{\"hash\":1857785264,\"revision\":65,\"totalKey\":80,\"totalSize\":28672}\n";
    check(Format::Json, &reply, json);
    let fields = "\"Hash\" : 1857785264\n\"Revision\" : 65\n\"Keys\" : 80\n\"Size\" : 28672\n";
    check(Format::Fields, &reply, fields);
    check(
        Format::Table,
        &reply,
        "+----------+----------+------------+------------+\n\
         |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE |\n\
         +----------+----------+------------+------------+\n\
         | 6ebb8db0 |       65 |         80 |      29 kB |\n\
         +----------+----------+------------+------------+\n",
    );
    check_refused(Format::Protobuf, &reply, "protobuf not supported as output format");
}

#[test]
fn every_json_output_is_one_line_of_json() {
    let (txn, members, rows) = (txn(), members(), [status()]);
    for reply in [Reply::Txn(&txn), Reply::Members(&members), Reply::Status(&rows)] {
        let text = render(Style { format: Format::Json, hex: false }, &reply).expect("json");
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON");
    }
}
