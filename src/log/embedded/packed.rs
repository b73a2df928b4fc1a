//! The packed body of a frame: a zstd block of its own, so that every frame is read alone. A small frame has little to repeat
//! within itself: the names of dimensions, what is absent, what stands in a command and in its event. So it is packed against
//! a *dictionary*: some KiB of what frames are like, and the codes for their bytes. A body above [`ALONE_BYTES`] repeats itself
//! and is packed without one, in half the time. A body that does not become shorter is written as it is.
//!
//! ```text
//! packed body   a frame of zstd without its magic 4, with the length of the body and a check of it
//! ```
//!
//! The dictionary stands in the header of the segment (`segment.rs`), and any will do: nothing else has to be known of it. A log
//! begins with the one that is a part of the program, which knows no caller and no pool (`tests/it/packed_frames.rs` says how it
//! is made). Those of later segments are made of what the log holds (`training.rs`).
//!
//! The check is the one of zstd, 4 bytes: what comes out is what went in, also with another version of the library. Damage of
//! a disk is found before, by the check in the header of the frame.
//!
//! An update of the library may pack a body into other bytes, and reads what was packed before.
//!
//! Bytes of the disk for an order of the load generator, header and a place in a trace included, in turns of 1 / 2 / 10 / 100: 298 /
//! 206 / 129 / 105 with the dictionary of the program, and 207 / 159 / 114 / 105 with the next one; before they were packed 552 /
//! 522 / 491 / 485. What is left in a turn of 1 is mostly random: digest, trace, key, ids.

use super::frame::Header;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, get_frame_content_size};

/// The dictionary that is a part of the program.
const OF_PROGRAM: &[u8] = include_bytes!("dictionary");

/// Most bytes of a body that is packed, and so of what a packed body may claim to hold. It is several times what a frame
/// usually has; only a single record can be larger.
const BODY_BYTES_MAX: usize = 256 << 10;
/// A body of more bytes is packed without the dictionary. Readers go by this as well: it is a part of the format.
const ALONE_BYTES: usize = 16 << 10;
/// How hard zstd tries. Level 1 takes 2 to 5 % less of the disk, and 1.5 to 3 times as long to unpack.
const LEVEL: i32 = -1;
/// With these bytes every block of zstd begins, so they are not written.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

thread_local! {
    // What a reading thread needs is made once.
    static UNPACKER: Cell<Option<Unpacker>> = const { Cell::new(None) };
}

/// What bodies of frames are packed against. Clones share its bytes. Without any, a body is packed alone.
#[derive(Clone, Default)]
pub(super) struct Dictionary(Arc<[u8]>);

/// Every frame asks for it, so bytes that are shared are not compared.
impl PartialEq for Dictionary {
    fn eq(&self, other: &Dictionary) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Dictionary {}

impl Dictionary {
    /// Of these bytes. Whether zstd takes them, [`Unpacking::knows`].
    pub(super) fn of(bytes: &[u8]) -> Dictionary {
        if bytes == OF_PROGRAM { Dictionary::of_program() } else { Dictionary(bytes.into()) }
    }

    /// The one with which a log begins.
    pub(super) fn of_program() -> Dictionary {
        static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(|| Dictionary(OF_PROGRAM.into()));
        DICTIONARY.clone()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the bytes of the other one if they are the same, so that they are in memory once and soon compared.
    pub(super) fn shares(&mut self, other: &Dictionary) {
        if !Arc::ptr_eq(&self.0, &other.0) && self == other {
            self.clone_from(other);
        }
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionary({} bytes, {})", self.0.len(), blake3::hash(&self.0).to_hex().split_at(8).0)
    }
}

/// Packs the bodies of frames. An owner keeps one: a frame costs no allocation.
pub(super) struct Packer {
    dictionary: Dictionary,
    zstd: Option<Compressor<'static>>,
    /// Without the dictionary.
    alone: Option<Compressor<'static>>,
    block: Vec<u8>,
    /// Looks at what was packed.
    unpacker: Option<Unpacker>,
}

impl Packer {
    pub(super) fn new(dictionary: Dictionary) -> Packer {
        Packer { dictionary, zstd: None, alone: None, block: Vec::new(), unpacker: None }
    }

    pub(super) fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// From now on bodies are packed against this one.
    pub(super) fn packs_against(&mut self, dictionary: &Dictionary) {
        self.dictionary.shares(dictionary);
        if self.dictionary != *dictionary {
            *self = Packer::new(dictionary.clone());
        }
    }

    /// Appends the packed body of a frame. Appends nothing, and answers `false`, when that is not shorter, or does not come out
    /// of its packing as it went in.
    pub(super) fn pack(&mut self, body: &[u8], to: &mut Vec<u8>) -> bool {
        if self.fill_block(body).is_none() {
            return false;
        }
        let Packer { dictionary, block, unpacker, .. } = self;
        let Some(packed) = block.strip_prefix(&MAGIC).filter(|packed| packed.len() < body.len()) else {
            return false;
        };
        if unpacker.is_none() {
            *unpacker = Unpacker::of(None, dictionary);
        }
        // Who was told that an event is durable must find it, whatever faults a library or a memory has.
        let is_sound = unpacker.as_mut().and_then(|unpacker| unpacker.unpack(packed)) == Some(body);
        if is_sound {
            to.extend_from_slice(packed);
        } else {
            tracing::error!(bytes = body.len(), "a frame does not come out of its packing, and is written without it");
        }
        is_sound
    }

    fn fill_block(&mut self, body: &[u8]) -> Option<()> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let none = Dictionary::default();
        let (zstd, dictionary) = match body.len() > ALONE_BYTES {
            true => (&mut self.alone, &none),
            false => (&mut self.zstd, &self.dictionary),
        };
        if zstd.is_none() {
            *zstd = Some(compressor(dictionary).ok()?);
        }
        self.block.clear();
        self.block.reserve(compress_bound(body.len()));
        zstd.as_mut()?.compress_to_buffer(body, &mut self.block).ok()?;
        Some(())
    }
}

fn compressor(dictionary: &Dictionary) -> io::Result<Compressor<'static>> {
    let mut zstd = Compressor::with_dictionary(LEVEL, dictionary.bytes())?;
    zstd.include_contentsize(true)?;
    zstd.include_checksum(true)?;
    zstd.include_dictid(false)?;
    Ok(zstd)
}

struct Unpacker {
    dictionary: Dictionary,
    zstd: Decompressor<'static>,
    /// Without the dictionary.
    alone: Decompressor<'static>,
    block: Vec<u8>,
    body: Vec<u8>,
}

/// Takes bodies out of their packing.
#[derive(Default)]
pub(super) struct Unpacking(Option<Unpacker>);

impl Unpacking {
    /// The body of a frame of a segment with this dictionary, of which these bytes are there; `None` when they do not hold
    /// one.
    pub(super) fn body<'a>(
        &'a mut self,
        dictionary: &Dictionary,
        header: &Header,
        bytes: &'a [u8],
    ) -> Option<&'a [u8]> {
        if header.is_packed { self.unpacked(dictionary, bytes) } else { Some(bytes) }
    }

    /// What was packed into these bytes.
    pub(super) fn unpacked(&mut self, dictionary: &Dictionary, bytes: &[u8]) -> Option<&[u8]> {
        self.of(dictionary)?.unpack(bytes)
    }

    /// Whether zstd takes a dictionary.
    pub(super) fn knows(&mut self, dictionary: &Dictionary) -> bool {
        self.of(dictionary).is_some()
    }

    fn of(&mut self, dictionary: &Dictionary) -> Option<&mut Unpacker> {
        if self.0.is_none() {
            self.0 = UNPACKER.try_with(Cell::take).ok().flatten();
        }
        self.0.iter_mut().for_each(|unpacker| unpacker.dictionary.shares(dictionary));
        if self.0.as_ref().is_none_or(|unpacker| unpacker.dictionary != *dictionary) {
            self.0 = Unpacker::of(self.0.take(), dictionary);
        }
        self.0.as_mut()
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        if let Some(unpacker) = self.0.take() {
            // Without a place to keep it the next one is made anew.
            let _kept = UNPACKER.try_with(|kept| kept.set(Some(unpacker)));
        }
    }
}

impl Unpacker {
    /// With the memory of one of another dictionary, if there is one.
    fn of(other: Option<Unpacker>, dictionary: &Dictionary) -> Option<Unpacker> {
        let kept = other.map(|Unpacker { zstd, alone, block, body, .. }| (zstd, alone, block, body));
        let (zstd, alone, block, body) = kept.unwrap_or_default();
        let mut unpacker = Unpacker { dictionary: dictionary.clone(), zstd, alone, block, body };
        unpacker.zstd.set_dictionary(dictionary.bytes()).ok().map(|()| unpacker)
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.block.clear();
        self.block.extend_from_slice(&MAGIC);
        self.block.extend_from_slice(bytes);
        let length = usize::try_from(get_frame_content_size(&self.block).ok()??).ok()?;
        if length > BODY_BYTES_MAX {
            return None;
        }
        self.body.clear();
        self.body.reserve(length);
        let zstd = if length > ALONE_BYTES { &mut self.alone } else { &mut self.zstd };
        let unpacked = zstd.decompress_to_buffer(&self.block, &mut self.body).ok()?;
        (unpacked == length).then_some(&*self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKER_BYTES_MAX;
    use zstd::zstd_safe::DCtx;

    fn packed(body: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        assert!(packer().pack(body, &mut packed) && packed.len() < body.len());
        packed
    }

    fn packer() -> Packer {
        Packer::new(Dictionary::of_program())
    }

    fn unpacker() -> Unpacker {
        Unpacker::of(None, &Dictionary::of_program()).unwrap()
    }

    #[test]
    fn a_body_comes_out_with_the_dictionary_it_was_packed_against_and_with_no_other() {
        let body = b"orders crates accepted by the pool of the day, whose name stands here".as_slice();
        let text = Dictionary::of(b"accepted by the pool of the day, whose name stands here; orders crates");
        let all = [Dictionary::default(), Dictionary::of_program(), text, Dictionary::of(b"short")];
        let (mut packer, mut unpacking, mut count) = (packer(), Unpacking::default(), 0);
        for dictionary in &all {
            let mut packed = Vec::new();
            packer.packs_against(dictionary);
            if packer.pack(body, &mut packed) {
                assert_eq!(unpacking.unpacked(dictionary, &packed), Some(body), "{dictionary:?}");
                let other = |other: &Dictionary| unpacking.unpacked(other, &packed).is_none_or(|out| out == body);
                assert!(all.iter().all(other), "{dictionary:?}");
                count += 1;
            }
        }
        assert!(count > 0, "none of them makes it shorter");
        // It begins as one of zstd does, and its codes are none.
        let broken = Dictionary::of(&[&OF_PROGRAM[..8], &[0xFF; 500]].concat());
        assert!(!unpacking.knows(&broken) && unpacking.unpacked(&broken, &[0; 20]).is_none());
        assert!(all.iter().all(|dictionary| unpacking.knows(dictionary)));
    }

    #[test]
    fn a_large_body_is_packed_without_the_dictionary() {
        let (mut unpacking, none) = (Unpacking::default(), Dictionary::default());
        for (length, is_alone) in [(ALONE_BYTES, false), (ALONE_BYTES + 1, true)] {
            let body: Vec<u8> = OF_PROGRAM.iter().copied().cycle().take(length).collect();
            let packed = packed(&body);
            assert_eq!(unpacking.unpacked(&Dictionary::of_program(), &packed), Some(&*body));
            assert_eq!(unpacking.unpacked(&none, &packed) == Some(&*body), is_alone);
        }
    }

    /// An owner keeps it for as long as it lives, with all that its largest frames have made it take.
    #[test]
    fn what_a_packer_keeps_is_bounded() {
        let mut packer = packer();
        for length in (0..=BODY_BYTES_MAX).step_by(1 << 10).chain([ALONE_BYTES, BODY_BYTES_MAX]) {
            let body: Vec<u8> = OF_PROGRAM.iter().copied().cycle().take(length).collect();
            packer.pack(&body, &mut Vec::new());
        }
        let of_zstd = |zstd: &mut Option<Compressor<'static>>| zstd.as_mut().unwrap().context_mut().sizeof();
        let (zstd, alone) = (of_zstd(&mut packer.zstd), of_zstd(&mut packer.alone));
        let unpacker = packer.unpacker.as_ref().unwrap();
        let mut of_dictionary = DCtx::create();
        of_dictionary.load_dictionary(OF_PROGRAM).unwrap();
        let unpacking = of_dictionary.sizeof() + DCtx::create().sizeof();
        let buffers = packer.block.capacity() + unpacker.block.capacity() + unpacker.body.capacity();
        let kept = zstd + alone + unpacking + buffers;
        println!("{kept} bytes: {zstd} and {alone} to pack, {unpacking} to unpack, {buffers} of buffers");
        assert!(kept as u64 <= PACKER_BYTES_MAX && kept as u64 > PACKER_BYTES_MAX / 4, "{kept}");
    }

    #[test]
    fn a_body_that_does_not_become_shorter_is_left_as_it_is() {
        let (mut packer, mut random) = (packer(), blake3::Hasher::new().finalize_xof());
        for length in [0, 1, 30, 300, 3_000, 60_000, BODY_BYTES_MAX] {
            let (mut body, mut to) = (vec![0; length], b"before".to_vec());
            random.fill(&mut body);
            assert!(!packer.pack(&body, &mut to) && to == b"before");
        }
        assert!(!packer.pack(&vec![0; BODY_BYTES_MAX + 1], &mut Vec::new()));
        let most = vec![0; BODY_BYTES_MAX];
        assert!(unpacker().unpack(&packed(&most)) == Some(&most));
    }

    /// Whatever becomes of a packed body: it is refused, or it is still the same.
    #[test]
    fn a_packed_body_with_changed_bytes_is_refused() {
        let body = b"orders crates accepted by the pool of the day; orders crates accepted again".repeat(3);
        let (packed, mut unpacker) = (packed(&body), unpacker());
        assert_eq!(unpacker.unpack(&packed), Some(&body[..]));
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut changed = packed.clone();
                changed[at] ^= 1 << bit;
                if let Some(found) = unpacker.unpack(&changed) {
                    assert!(found == body, "bit {bit} of byte {at}");
                }
            }
            assert_eq!(unpacker.unpack(&packed[..at]), None);
        }
        for more in [&[0][..], &packed, &[MAGIC.as_slice(), &packed].concat()] {
            assert_eq!(unpacker.unpack(&[&packed, more].concat()), None);
        }
        assert_eq!(unpacker.unpack(&packed), Some(&body[..]), "a refused one leaves nothing behind");
    }

    #[test]
    fn a_packed_body_that_claims_to_hold_too_much_takes_no_memory() {
        let mut unpacker = unpacker();
        for length in [BODY_BYTES_MAX as u64 + 1, 1 << 32, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let claims = [&[0b1110_0100][..], &length.to_le_bytes(), &[0; 40]].concat();
            assert_eq!(unpacker.unpack(&claims), None);
        }
        assert_eq!(unpacker.body.capacity(), 0);
    }
}
