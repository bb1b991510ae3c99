//! What the container's first process says, and where it looks.

use std::os::fd::AsFd;

use super::*;

#[test]
fn steps_are_found_by_their_numbers() {
    for (index, (step, _)) in Step::ALL.iter().enumerate() {
        assert_eq!(*step as usize, index);
    }
}

#[test]
fn complaints_come_through_a_pipe() {
    let (read, write) = std::io::pipe().expect("a pipe");
    Complaint::step(Step::Pivot, libc::EPERM).send(write.as_fd());
    drop(write);
    let complaint = read_complaint(&read).expect("it was sent");
    let err = complaint.answer("true", &WireEmulation::Kernel).expect_err("no command ran");
    let expected = "this machine cannot run commands: cannot change the root of a container: Operation not permitted (os error 1)";
    assert_eq!(err.to_string(), expected);
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(write);
    assert!(read_complaint(&read).is_none(), "it became the command");
}

#[test]
fn programs_are_looked_for_in_path() {
    let check = |program: &str, path: &str, expected: &[&str]| {
        let env = ["PATH=/ignored".to_owned(), format!("PATH={path}")];
        assert_eq!(candidates(program, &env), expected);
    };
    check("true", "/bin:/usr/bin", &["/bin/true", "/usr/bin/true"]);
    check("true", ":/bin", &["./true", "/bin/true"]);
    check("./true", "/bin", &["./true"]);
}
