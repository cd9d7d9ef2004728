//! The oracle runner: the same script of commands through Debian's real `etcdctl`, once against
//! real etcd 3.4.23 and once against ours. Answers must be equal after masking what differs
//! between any two clusters (ids, terms, times); each further difference is listed by name, with
//! its reason, beside the step that has it.

mod backup;
mod image;
mod mask;
mod script;

use integration_tests::{Kind, Output, Server, Tool};
use script::{Allowed, SCRIPTS, Step};

/// Runs `steps` on a fresh server of `kind`.
fn play(kind: Kind, steps: &[Step]) -> Vec<Output> {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(kind, dir.path()).start();
    let mut leases = Vec::new();
    steps
        .iter()
        .map(|step| {
            let args: Vec<String> =
                step.args.iter().map(|arg| mask::insert_lease(arg, &leases)).collect();
            let output = Tool::Reference.run_with_input(&server, &args, step.input.as_bytes());
            leases.extend(mask::lease_of(&output.stdout));
            Output {
                code: output.code,
                stdout: mask::mask(&output.stdout),
                stderr: mask::mask(&output.stderr),
            }
        })
        .collect()
}

fn compare(name: &str) {
    let (_, steps) = SCRIPTS.iter().find(|(n, _)| *n == name).expect("a script of that name");
    let real = play(Kind::Reference, steps);
    let ours = play(Kind::Ours, steps);
    let mut differences = Vec::new();
    for ((step, real), ours) in steps.iter().zip(&real).zip(&ours) {
        let (real, ours) = match &step.allowed {
            None => (real.clone(), ours.clone()),
            Some(Allowed { reason: _, rewrite }) => (rewrite(real.clone()), rewrite(ours.clone())),
        };
        if real != ours {
            differences.push(format!("{:?}\n  real {real:?}\n  ours {ours:?}", step.args));
        }
    }
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            compare(stringify!($name));
        })*

        #[test]
        fn every_script_is_run() {
            let run = [$(stringify!($name)),*];
            let all: Vec<&str> = SCRIPTS.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, run);
        }
    };
}

scripts! {
    put_get_and_delete
    ranges_limits_and_orders
    revisions_and_compaction
    transactions
    leases
    bad_requests
    alarms_and_maintenance
    registry_keys
}
