//! The compiled descriptors against the recorded facts of the wire: packages, services, methods,
//! messages, fields and enums, both ways.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("golden/api.json");
/// Not etcd's own: described by the gRPC project.
const HEALTH: &str = "grpc.health.v1";

fn golden() -> Value {
    serde_json::from_str(GOLDEN).expect("the golden file is JSON")
}

fn type_name(field: &FieldDescriptorProto) -> (String, &'static str) {
    match field.r#type() {
        Type::Message => (field.type_name()[1..].to_owned(), "message"),
        Type::Enum => (field.type_name()[1..].to_owned(), "enum"),
        scalar => {
            let name = scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase();
            (name, "scalar")
        }
    }
}

fn wire_tag(field: &FieldDescriptorProto, packed: bool) -> String {
    let wire_type = match field.r#type() {
        _ if packed => 2,
        Type::String | Type::Bytes | Type::Message => 2,
        Type::Double | Type::Fixed64 | Type::Sfixed64 => 1,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => 5,
        _ => 0,
    };
    let mut key = Vec::new();
    let number = u64::try_from(field.number()).expect("positive");
    prost::encoding::encode_varint(number << 3 | wire_type, &mut key);
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe_field(message: &DescriptorProto, field: &FieldDescriptorProto, syntax: &str) -> Value {
    let (name, kind) = type_name(field);
    let repeated = field.label() == Label::Repeated;
    let mut fact = json!({
        "name": field.name(),
        "number": field.number(),
        "type": name,
        "kind": kind,
        "repeated": repeated,
        "json_name": field.json_name(),
    });
    let packable = kind != "message" && !matches!(field.r#type(), Type::String | Type::Bytes);
    let asked = field.options.as_ref().and_then(|options| options.packed);
    let packed = repeated && packable && asked.unwrap_or(syntax == "proto3");
    if repeated {
        fact["packed"] = packed.into();
    }
    if let Some(at) = field.oneof_index {
        let at = usize::try_from(at).expect("not negative");
        fact["oneof"] = message.oneof_decl[at].name().into();
    }
    fact["wire_tag"] = wire_tag(field, packed).into();
    fact
}

fn describe_enum(of: &EnumDescriptorProto) -> Value {
    of.value.iter().map(|value| (value.name().to_owned(), Value::from(value.number()))).collect()
}

#[derive(Default)]
struct Facts {
    services: BTreeMap<String, Value>,
    enums: BTreeMap<String, Value>,
    messages: BTreeMap<String, Value>,
}

impl Facts {
    fn add_message(&mut self, path: &str, message: &DescriptorProto, syntax: &str) {
        let name = format!("{path}.{}", message.name());
        let fields: Vec<Value> =
            message.field.iter().map(|field| describe_field(message, field, syntax)).collect();
        self.messages.insert(name.clone(), json!({"syntax": syntax, "fields": fields}));
        for inner in &message.nested_type {
            self.add_message(&name, inner, syntax);
        }
        for inner in &message.enum_type {
            self.enums.insert(format!("{name}.{}", inner.name()), describe_enum(inner));
        }
    }
}

fn compiled() -> BTreeMap<String, Facts> {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("compiled by us");
    let mut packages: BTreeMap<String, Facts> = BTreeMap::new();
    for file in &set.file {
        let package = file.package();
        let facts = packages.entry(package.to_owned()).or_default();
        let syntax = if file.syntax() == "proto3" { "proto3" } else { "proto2" };
        for service in &file.service {
            let methods: Value = service
                .method
                .iter()
                .map(|method| {
                    let fact = json!({
                        "request": &method.input_type()[1..],
                        "response": &method.output_type()[1..],
                        "client_streaming": method.client_streaming(),
                        "server_streaming": method.server_streaming(),
                    });
                    (method.name().to_owned(), fact)
                })
                .collect();
            facts.services.insert(format!("{package}.{}", service.name()), methods);
        }
        for message in &file.message_type {
            facts.add_message(package, message, syntax);
        }
        for of in &file.enum_type {
            facts.enums.insert(format!("{package}.{}", of.name()), describe_enum(of));
        }
    }
    packages
}

/// Fields sorted by number: the facts list them in source order.
fn sorted_fields(message: &Value) -> Value {
    let mut fields = message["fields"].as_array().expect("a list").clone();
    fields.sort_by_key(|field| field["number"].as_i64());
    json!({"syntax": message["syntax"], "fields": fields})
}

#[test]
fn the_compiled_messages_are_the_recorded_ones() {
    let golden = golden();
    let recorded = golden["packages"].as_object().expect("an object");
    let compiled = compiled();
    let ours: BTreeSet<&str> =
        compiled.keys().map(String::as_str).filter(|&name| name != HEALTH).collect();
    assert_eq!(ours, recorded.keys().map(String::as_str).collect());
    for (package, facts) in recorded {
        let ours = &compiled[package];
        for (section, ours) in
            [("services", &ours.services), ("enums", &ours.enums), ("messages", &ours.messages)]
        {
            let theirs = facts[section].as_object().expect("an object");
            let names: BTreeSet<_> = ours.keys().collect();
            assert_eq!(names, theirs.keys().collect(), "{section} of {package}");
            for (name, fact) in theirs {
                if section == "messages" {
                    assert_eq!(sorted_fields(&ours[name]), sorted_fields(fact), "{name}");
                } else {
                    assert_eq!(&ours[name], fact, "{name}");
                }
            }
        }
    }
}

#[test]
fn the_health_service_has_its_three_methods() {
    let compiled = compiled();
    let health = &compiled[HEALTH].services["grpc.health.v1.Health"];
    let names: Vec<_> = health.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["Check", "List", "Watch"]);
    assert_eq!(health["Watch"]["server_streaming"], true);
}
