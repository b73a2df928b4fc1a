//! What every place for objects owes those who write there, whatever it is: a folder, or a bucket of any kind.

use headroom::config::object_place;
use headroom::objects::{Bucket, Got, Objects, Tag};

fn whole(bytes: &[u8]) -> Option<Got> {
    Some(Got::Whole(bytes.to_vec()))
}

/// An object that is there is not written anew, and only who saw the newest one replaces it.
pub fn heeds_conditions(place: &Bucket) {
    assert!(place.heeds_conditions("p/conditions").unwrap());
    assert!(place.heeds_conditions("p/conditions").unwrap(), "also when it was asked before");
    assert!(place.create("p/once", b"first".to_vec()).unwrap());
    assert!(!place.create("p/once", b"second".to_vec()).unwrap());
    assert_eq!(place.get("p/once", 9).unwrap(), whole(b"first"));
    let put = |bytes: &[u8], seen: Option<&Tag>| place.replace("p/now", bytes.to_vec(), seen).unwrap();
    let first = put(b"1", None).unwrap();
    assert_eq!(put(b"2", None), None);
    let second = put(b"22", Some(&first)).unwrap();
    assert_eq!(put(b"3", Some(&first)), None);
    let (got, seen) = place.read("p/now", 9).unwrap().unwrap();
    assert_eq!((got, &seen), (Got::Whole(b"22".to_vec()), &second));
    put(b"333", Some(&seen)).unwrap();
    place.delete("p/now").unwrap();
    assert_eq!(put(b"4", Some(&seen)), None, "it is gone");
}

/// What was written is read and listed as it was, what was deleted is gone, and who deletes it again is told nothing.
pub fn keeps_what_it_was_given(place: &Bucket) {
    let bytes: Vec<u8> = (0..5 << 20).map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
    place.put("q/r/long", bytes.clone()).unwrap();
    place.put("q/short", b"1".to_vec()).unwrap();
    place.put("q/short", b"22".to_vec()).unwrap();
    place.put("q2/other", b"3".to_vec()).unwrap();
    assert_eq!(place.get("q/r/long", 5 << 20).unwrap(), Some(Got::Whole(bytes)));
    assert_eq!(place.get("q/r/long", 100).unwrap(), Some(Got::Longer(5 << 20)));
    assert_eq!(place.get("q/none", 9).unwrap(), None);
    let listed = |folder: &str, most: usize| {
        let listed = place.list(folder, most).unwrap().into_iter();
        let mut listed: Vec<_> = listed.map(|object| (object.name, object.bytes, object.written.0 > 0)).collect();
        listed.sort();
        listed
    };
    assert_eq!(listed("q", 9), [("short".to_owned(), 2, true)]);
    assert_eq!(listed("q/r", 9), [("long".to_owned(), 5 << 20, true)]);
    assert_eq!(listed("none", 9), []);
    assert!(place.has("q", |name| name == "long").unwrap() && !place.has("q", |name| name == "other").unwrap());
    for _ in 0..2 {
        place.delete("q/short").unwrap();
        assert_eq!((place.get("q/short", 9).unwrap(), listed("q", 9)), (None, vec![]));
    }
    (0..3).for_each(|n| place.put(&format!("many/{n}"), Vec::new()).unwrap());
    assert_eq!((listed("many", 2).len(), listed("many", 3).len()), (2, 3));
    ["b-2", "c-1", "b-1", "a/within"].iter().for_each(|name| place.put(&format!("named/{name}"), Vec::new()).unwrap());
    let after = |name: &str| place.first_after("named", name).unwrap().unwrap_or_default();
    assert_eq!(["a", "b-1", "b-2", "c-1"].map(after), ["b-1", "b-2", "c-1", ""]);
    assert_eq!(place.first_after("none", "a").unwrap(), None);
}

#[test]
fn a_folder_does() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Bucket::open(&object_place(&format!("file://{}", dir.path().display())).unwrap()).unwrap();
    heeds_conditions(&folder);
    keeps_what_it_was_given(&folder);
}

/// The story: somebody unpacked an archive over the folder, and a directory has the name of an object. Every call names it:
/// taken for an object that is gone, it would be damage, and nobody would look there.
#[test]
fn a_directory_with_the_name_of_an_object_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Bucket::open(&object_place(&format!("file://{}", dir.path().display())).unwrap()).unwrap();
    std::fs::create_dir_all(dir.path().join("p/it/within")).unwrap();
    folder.put("p/other", b"1".to_vec()).unwrap();
    let told = [
        folder.get("p/it", 9).map(drop),
        folder.put("p/it", Vec::new()),
        folder.create("p/it", Vec::new()).map(drop),
        folder.replace("p/it", Vec::new(), None).map(drop),
        folder.delete("p/it"),
    ];
    for told in told {
        let error = told.unwrap_err();
        assert!(error.detail.ends_with("p/it is a directory, and no object: move it away"), "{error}");
        assert!(error.needs_operator());
    }
    assert_eq!(folder.list("p", 9).unwrap().into_iter().map(|listed| listed.name).collect::<Vec<_>>(), ["other"]);
}

mod bucket {
    use crate::buckets::{Bucket, answer, answering, at, opened};
    use std::io::Write;
    use std::process::Command;
    use std::sync::mpsc;

    #[test]
    fn one_of_s3_does() {
        let bucket = Bucket::start();
        super::heeds_conditions(&bucket.opened());
        super::keeps_what_it_was_given(&bucket.opened());
    }

    /// The story: a day has a hundred thousand files. Who looks for one of them neither reads the names of all, nor stops before it.
    #[test]
    fn what_comes_after_a_name_among_very_many_is_asked_for_once() {
        let (tell, told) = mpsc::channel();
        let url = answering(move |head, _, client| {
            tell.send(head.lines().next().unwrap().to_owned()).unwrap();
            let rest = "<LastModified>2026-11-28T00:00:00Z</LastModified><Size>1</Size>";
            let object = format!("<Contents><Key>some/place/day/p-7</Key>{rest}</Contents>");
            let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>";
            let page = format!("<ListBucketResult>{object}{more}</ListBucketResult>");
            client.write_all(&answer("200 OK", page.as_bytes()))
        });
        let mut named = Command::new("");
        at(&mut named, &url);
        let place = opened("s3://lake/some/place", &named);
        assert_eq!(place.first_after("day", "p-5").unwrap().as_deref(), Some("p-7"));
        let asked: Vec<String> = told.try_iter().collect();
        assert!(asked.len() == 1 && asked[0].contains("start-after=some%2Fplace%2Fday%2Fp-5"), "{asked:?}");
    }
}
