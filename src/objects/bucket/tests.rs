use super::*;
use crate::store::StoreErrorKind;
use std::sync::mpsc::{Sender, channel};

/// Those credentials that a server gives cannot be checked before the client has them.
#[test]
fn a_client_that_panics_has_failed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    let failed = bucket.call((Act::Read, "it"), 0, |_| async {
        std::panic::resume_unwind(Box::new("no header"));
        #[expect(unreachable_code, reason = "it gives the call its type")]
        Ok(())
    });
    assert!(
        failed.unwrap_err().detail.ends_with("cannot read it: the client panicked: a line above this one says where")
    );
    bucket.put("it", b"more".to_vec()).unwrap();
    assert_eq!(bucket.get("it", 9).unwrap(), Some(Got::Whole(b"more".to_vec())));
}

/// Writers that start together make the same folder within the place.
#[test]
fn locks_that_are_taken_at_once_in_a_new_folder_are_taken() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let lock = |n: usize| {
                let bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
                bucket.lock(&format!("positions/{n}.lock"))
            };
            let taken: Vec<_> = (0..4).map(|n| scope.spawn(move || lock(n))).collect();
            for lock in taken {
                assert!(matches!(lock.join().unwrap(), Ok(Lock::Held(_))));
            }
        });
    }
}

/// The story: a process was killed after an object had got its name and before that name was flushed. Another one found
/// it, counted it as written, and then the power failed.
#[test]
fn the_names_of_an_object_are_flushed_also_when_it_was_there_already() {
    static SEEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    fn noting(folder: &FsPath) -> io::Result<()> {
        SEEN.lock().push(folder.to_owned());
        flush(folder)
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    bucket.reached = Reached::Folder { dir: dir.path().to_owned(), is_dir: FsPath::is_dir, flush: noting };
    let all = ["log/segments", "log", ""].map(|folder| dir.path().join(folder));
    let flushed = || std::mem::take(&mut *SEEN.lock());
    for is_new in [true, false] {
        assert_eq!(bucket.create("log/segments/1", b"1".to_vec()).unwrap(), is_new);
        assert_eq!(flushed(), all, "{is_new}");
        assert_eq!(bucket.replace("log/segments/2", b"2".to_vec(), None).unwrap().is_some(), is_new);
        assert_eq!(flushed(), all, "{is_new}");
    }
    bucket.put("log/segments/1", b"2".to_vec()).unwrap();
    assert_eq!(flushed(), all);
}

/// The story: a folder belongs to another user. It is not waited for as a slow one is.
#[test]
fn a_folder_that_this_process_may_not_write_is_told_with_the_path_and_what_the_system_says() {
    fn refusing(_: &FsPath) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(13))
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    bucket.reached = Reached::Folder { dir: dir.path().to_owned(), is_dir: FsPath::is_dir, flush: refusing };
    let refused = bucket.put("log/1", b"1".to_vec()).unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Refused);
    let path = dir.path().join("log/1");
    let said = format!(
        "cannot write log/1: the system refuses it ({}: Permission denied (os error 13)): give",
        path.display()
    );
    assert!(refused.detail.contains(&said), "{refused}");
}

/// Somebody cleans up in a folder while it is written.
#[test]
fn in_a_folder_an_object_that_was_deleted_or_changed_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    let first = bucket.replace("it", b"1".to_vec(), None).unwrap().unwrap();
    assert_eq!(bucket.replace("it", b"2".to_vec(), None).unwrap(), None, "it is there");
    let second = bucket.replace("it", b"22".to_vec(), Some(&first)).unwrap().unwrap();
    assert_eq!(bucket.replace("it", b"3".to_vec(), Some(&first)).unwrap(), None, "it has changed");
    bucket.delete("it").unwrap();
    assert_eq!(bucket.replace("it", b"3".to_vec(), Some(&second)).unwrap(), None, "it is gone");
    let lock = bucket.lock("lock").unwrap();
    assert!(bucket.holds("lock", &lock).unwrap());
    bucket.delete("lock").unwrap();
    assert!(!bucket.holds("lock", &lock).unwrap());
    let other = bucket.lock("lock").unwrap();
    assert!(bucket.holds("lock", &other).unwrap() && !bucket.holds("lock", &lock).unwrap());
}

/// The story: the server of a mount is gone, and a process begins that has no checkpoint. It looks for snapshots, and goes on
/// without them.
#[test]
fn a_mount_that_does_not_answer_is_given_up_before_it_is_opened() {
    static MOUNT: Mutex<()> = Mutex::new(());
    fn hanging(path: &FsPath) -> bool {
        drop(MOUNT.lock());
        path.is_dir()
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    bucket.reached = Reached::Folder { dir: dir.path().to_owned(), is_dir: hanging, flush };
    let hangs = MOUNT.lock();
    let told = bucket.put_within("it", b"1".to_vec(), Duration::from_millis(100)).unwrap_err();
    assert!(told.detail.ends_with("cannot write it: no answer within 0 s"), "{told}");
    assert_eq!(told.kind, StoreErrorKind::Transient);
    drop(hangs);
    assert_eq!(bucket.get("it", 9).unwrap(), None, "it was not written");
}

/// The story: the disk of a folder hangs for a night. Each write that was given up keeps its bytes until the disk answers.
#[test]
fn while_writes_hang_in_the_disk_of_a_folder_no_more_are_begun() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    let mut hanging: Vec<_> = (0..UNDER_WAY_MAX).map(|_| bucket.payload("it", b"1".to_vec()).unwrap()).collect();
    for told in [bucket.put("it", b"2".to_vec()).unwrap_err(), bucket.create("it", b"2".to_vec()).unwrap_err()] {
        let said = "cannot write it: 4 writes that were given up have not ended: the disk of the folder hangs";
        assert!(told.detail.ends_with(said), "{told}");
        assert_eq!(told.kind, StoreErrorKind::Transient);
    }
    drop(hanging.pop());
    for _ in 0..2 * UNDER_WAY_MAX {
        bucket.put("it", b"3".to_vec()).unwrap();
    }
    assert_eq!(bucket.get("it", 9).unwrap(), Some(Got::Whole(b"3".to_vec())));
}

/// The story: a mount hangs for a night, and is asked again and again. Each call that was given up kept a thread of its own,
/// until the container had no more of them for those who serve callers.
#[test]
fn calls_that_were_given_up_keep_a_bounded_number_of_threads() {
    static MOUNT: Mutex<()> = Mutex::new(());
    /// Threads that wait for the mount, and the most that ever did.
    static WAITING: Mutex<(usize, usize)> = Mutex::new((0, 0));
    fn hanging(path: &FsPath) -> bool {
        {
            let mut waiting = WAITING.lock();
            waiting.0 += 1;
            waiting.1 = waiting.1.max(waiting.0);
        }
        drop(MOUNT.lock());
        WAITING.lock().0 -= 1;
        path.is_dir()
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    bucket.reached = Reached::Folder { dir: dir.path().to_owned(), is_dir: hanging, flush };
    let hangs = MOUNT.lock();
    for _ in 0..2 * THREADS_MAX {
        bucket.put_within("it", b"1".to_vec(), Duration::from_millis(2)).unwrap_err();
    }
    drop(hangs);
    assert_eq!(bucket.get("it", 9).unwrap(), None, "once the mount answers, so does the place");
    let most = WAITING.lock().1;
    assert!(most <= THREADS_MAX, "{most} threads have waited");
}

/// The story: the server of a mount goes away when a folder was listed and its directories are looked for, and the process is to
/// end.
#[test]
fn a_mount_that_hangs_behind_a_listing_keeps_no_process_from_its_end() {
    static MOUNT: Mutex<()> = Mutex::new(());
    static ASKED: Mutex<Option<Sender<()>>> = Mutex::new(None);
    fn hanging(path: &FsPath) -> bool {
        if path.ends_with("link") {
            ASKED.lock().take().unwrap().send(()).unwrap();
            drop(MOUNT.lock());
        }
        path.is_dir()
    }
    let [dir, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut bucket = Bucket::open(&ObjectPlace::Folder(dir.path().to_owned())).unwrap();
    bucket.put("log/1", b"1".to_vec()).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("log/link")).unwrap();
    bucket.reached = Reached::Folder { dir: dir.path().to_owned(), is_dir: hanging, flush };
    std::thread::scope(|scope| {
        let (bucket, hangs) = (&bucket, MOUNT.lock());
        let ((asks, asked), (ends, ended)) = (channel(), channel());
        *ASKED.lock() = Some(asks);
        scope.spawn(move || ends.send(bucket.list("log", 9)).unwrap());
        asked.recv_timeout(CALL_LIMIT).unwrap();
        bucket.close();
        let listed = ended.recv_timeout(CALL_LIMIT / 2).unwrap().unwrap();
        assert_eq!(listed.first().map(|listed| &*listed.name), Some("1"));
        assert!(bucket.directories("log").is_err(), "whoever needs them is told that they are not known");
        drop(hangs);
    });
}
