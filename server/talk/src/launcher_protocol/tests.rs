//! Round trips, and bytes that are no message.

use super::*;
use proptest::prelude::*;

fn caller() -> Caller {
    Caller {
        build: BUILD.to_owned(),
        proof: u64::MAX - 1,
        umask: 0o022,
        view: View { root: (3, 4), mount_namespace: 5, group: 6, surroundings: 7 },
        niceness: -5,
        working_directory_id: (1, 2),
        working_directory: PathBuf::from("/src"),
        environment: vec![("A".into(), "x=y".into()), ("B".into(), "".into())],
    }
}

fn to_daemon() -> Vec<ToDaemon> {
    vec![
        ToDaemon::Compile {
            caller: caller(),
            terminal: Terminal { stdout: true, stderr: true, columns: 80, input_columns: 99 },
            compiler: "/usr/bin/gcc".into(),
            arguments: vec!["-c".into(), "a.c".into(), "".into()],
        },
        ToDaemon::Ask { caller: caller(), question: b"{}".to_vec() },
        ToDaemon::Ran { status: -1, user_us: 5, system_us: u64::MAX },
    ]
}

#[test]
fn a_silent_hit_is_known_by_its_bytes() {
    let hit = ToLauncher::Finished { status: 0, stdout: Vec::new(), stderr: Vec::new() };
    assert_eq!(hit.encode(), SILENT_HIT);
}

fn to_launcher() -> Vec<ToLauncher> {
    vec![
        ToLauncher::Finished { status: 256, stdout: vec![], stderr: b"warning".to_vec() },
        ToLauncher::Run(Run {
            program: "/usr/bin/gcc".into(),
            arguments: vec![b"-MF".to_vec(), descriptor_mark(0)],
            environment: vec![b"LC_ALL=C".to_vec()],
            terminal: true,
            compile: false,
        }),
        ToLauncher::PrintRan,
        ToLauncher::StepAside,
        ToLauncher::Waiting,
        ToLauncher::Answer(b"{}".to_vec()),
        ToLauncher::OtherBuild("1.0.0+0".to_owned()),
        ToLauncher::Warning("bad".to_owned()),
        ToLauncher::MadeWay,
        ToLauncher::OtherPlace,
    ]
}

#[test]
fn messages_survive_the_wire() {
    for message in to_daemon() {
        let frame = read_frame(&mut message.encode().as_slice()).unwrap();
        assert_eq!(ToDaemon::decode(&frame), Ok(message));
    }
    for message in to_launcher() {
        let frame = read_frame(&mut message.encode().as_slice()).unwrap();
        assert_eq!(ToLauncher::decode(&frame), Ok(message));
    }
}

#[test]
fn every_truncation_is_noticed() {
    for message in to_daemon() {
        let frame = message.encode();
        for end in 0..frame.len() {
            assert!(read_frame(&mut &frame[..end]).is_err());
        }
        for end in 5..frame.len() {
            assert!(ToDaemon::decode(&frame[4..end]).is_err());
        }
    }
}

#[test]
fn an_absurd_length_is_refused_without_memory() {
    assert!(read_frame(&mut [0xff, 0xff, 0xff, 0xff, 1].as_slice()).is_err());
    assert!(read_frame(&mut [0, 0, 0, 0].as_slice()).is_err());
    assert_eq!(ToDaemon::decode(&[99]), Err(Malformed::Kind(99)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ToDaemon::decode(&bytes);
        let _ = ToLauncher::decode(&bytes);
        let _ = read_frame(&mut bytes.as_slice());
    }
}
