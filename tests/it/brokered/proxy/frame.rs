//! Kafka's requests and answers, as far as a proxy must understand them, in the versions that librdkafka 2.12.1 and a
//! broker 4.3.1 agree on. Whatever else comes where it matters is an error that names it.

use std::fmt;

/// What a request is about: Kafka's number of it.
pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub const END_TXN: i16 = 26;

/// A request without its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub api: i16,
    pub version: i16,
    pub correlation: i32,
    /// The client's own name, `client.id`.
    pub client: String,
    /// The transactional id, of a request that has one.
    pub transaction: Option<String>,
    /// Partitions that are written to, or are to be.
    pub places: Vec<(String, i32)>,
    /// Of the records of a Produce.
    pub batch: Option<Batch>,
}

/// How a batch of records names itself to an idempotent broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    pub producer: i64,
    pub epoch: i16,
    pub first_sequence: i32,
    pub records: i32,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{} of {}", self.api, self.version, self.client)?;
        if let Some(id) = &self.transaction {
            write!(f, " for {id}")?;
        }
        self.places.iter().try_for_each(|(topic, partition)| write!(f, " {topic}/{partition}"))?;
        let Some(batch) = self.batch else { return Ok(()) };
        let Batch { producer, epoch, first_sequence, records } = batch;
        write!(f, ": {records} records, producer {producer}, epoch {epoch}, from sequence {first_sequence}")
    }
}

/// What cannot be read, and why.
type Read<T> = Result<T, String>;

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Whether lengths are varints, and tags follow.
    is_flexible: bool,
}

impl<'b> Cursor<'b> {
    fn new(bytes: &'b [u8], is_flexible: bool) -> Cursor<'b> {
        Cursor { bytes, at: 0, is_flexible }
    }

    fn take(&mut self, length: usize) -> Read<&'b [u8]> {
        let taken = self.at.checked_add(length).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| format!("{length} bytes at {} are not there", self.at))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    fn i16(&mut self) -> Read<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn varint(&mut self) -> Read<usize> {
        let (mut value, mut shift) = (0usize, 0u32);
        loop {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift > 28 {
                return Err(format!("a number at {} does not end", self.at));
            }
        }
    }

    /// A length or a count; none for null.
    fn length(&mut self, plain: impl Fn(&mut Self) -> Read<i32>) -> Read<Option<usize>> {
        Ok(if self.is_flexible { self.varint()?.checked_sub(1) } else { usize::try_from(plain(self)?).ok() })
    }

    fn string(&mut self) -> Read<Option<String>> {
        let Some(length) = self.length(|cursor| cursor.i16().map(i32::from))? else { return Ok(None) };
        let text = self.take(length)?;
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    fn name(&mut self) -> Read<String> {
        self.string()?.ok_or_else(|| format!("no name before {}", self.at))
    }

    fn count(&mut self) -> Read<usize> {
        Ok(self.length(Self::i32)?.unwrap_or_default())
    }

    fn tags(&mut self) -> Read<()> {
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Ok(())
    }
}

/// From which version on a request is flexible, of those that are looked into; and the last version that is known.
fn versions(api: i16) -> Option<(i16, i16)> {
    match api {
        PRODUCE => Some((9, 10)),
        INIT_PRODUCER_ID => Some((2, 5)),
        ADD_PARTITIONS_TO_TXN => Some((3, 3)),
        END_TXN => Some((3, 4)),
        _ => None,
    }
}

impl Request {
    /// What a frame says, without the length before it.
    pub fn read(frame: &[u8]) -> Read<Request> {
        let mut head = Cursor::new(frame, false);
        let (api, version, correlation) = (head.i16()?, head.i16()?, head.i32()?);
        let client = head.string()?.unwrap_or_default();
        let mut request =
            Request { api, version, correlation, client, transaction: None, places: Vec::new(), batch: None };
        let Some((flexible_from, last)) = versions(api) else { return Ok(request) };
        if version > last {
            return Err(format!("{request}: up to version {last} is understood"));
        }
        let mut body = Cursor { is_flexible: version >= flexible_from, ..head };
        body.tags()?;
        request.transaction = body.string()?;
        match api {
            PRODUCE => request.read_produce(&mut body)?,
            ADD_PARTITIONS_TO_TXN => request.read_partitions(&mut body)?,
            _ => {}
        }
        Ok(request)
    }

    fn read_produce(&mut self, body: &mut Cursor<'_>) -> Read<()> {
        let acks = body.i16()?;
        if acks == 0 {
            return Err(format!("{self}: it does not ask for an answer"));
        }
        body.i32()?;
        for _ in 0..body.count()? {
            let topic = body.name()?;
            for _ in 0..body.count()? {
                self.places.push((topic.clone(), body.i32()?));
                let length = body.count()?;
                self.batch = Some(Batch::read(body.take(length)?)?);
                body.tags()?;
            }
            body.tags()?;
        }
        if self.places.len() != 1 {
            return Err(format!("{self}: it writes to other than one partition"));
        }
        Ok(())
    }

    fn read_partitions(&mut self, body: &mut Cursor<'_>) -> Read<()> {
        body.i64()?;
        body.i16()?;
        for _ in 0..body.count()? {
            let topic = body.name()?;
            for _ in 0..body.count()? {
                self.places.push((topic.clone(), body.i32()?));
            }
            body.tags()?;
        }
        Ok(())
    }

    /// The answer that it failed on every partition with this code, or that it did not with 0.
    pub fn answer(&self, code: i16) -> Read<Vec<u8>> {
        let mut answer = self.correlation.to_be_bytes().to_vec();
        match (self.api, self.version, &self.places[..]) {
            (PRODUCE, 9..=10, [(topic, partition)]) => {
                // No tags; one topic, its name's length.
                answer.extend([0, 2, u8::try_from(topic.len() + 1).map_err(|_| format!("{topic} is long"))?]);
                answer.extend(topic.as_bytes());
                answer.push(2);
                answer.extend(partition.to_be_bytes());
                answer.extend(code.to_be_bytes());
                // No offset, no time, no first offset; no records with errors, no words, three times no tags.
                answer.extend([0xff; 24]);
                answer.extend([1, 0, 0, 0]);
                answer.extend(0i32.to_be_bytes());
                answer.push(0);
            }
            (ADD_PARTITIONS_TO_TXN, 0..=2, places) => {
                answer.extend(0i32.to_be_bytes());
                answer.extend(count(places.len()));
                for (topic, partition) in places {
                    answer.extend(count(topic.len())[2..].iter());
                    answer.extend(topic.as_bytes());
                    answer.extend(count(1));
                    answer.extend(partition.to_be_bytes());
                    answer.extend(code.to_be_bytes());
                }
            }
            _ => return Err(format!("{self}: no answer to it is known")),
        }
        Ok(answer)
    }

    /// Puts another code into the broker's answer to this Produce. Answers the code that was there.
    pub fn spoil(&self, answer: &mut [u8], code: i16) -> Read<i16> {
        if (self.api, self.version) != (PRODUCE, 9) && (self.api, self.version) != (PRODUCE, 10) {
            return Err(format!("{self}: its answer is not understood"));
        }
        let mut cursor = Cursor::new(answer, true);
        cursor.i32()?;
        cursor.tags()?;
        let topics = cursor.count()?;
        cursor.name()?;
        let partitions = cursor.count()?;
        cursor.i32()?;
        if (topics, partitions) != (1, 1) {
            return Err(format!("{self}: its answer is about {topics} topics and {partitions} partitions"));
        }
        let at = cursor.at;
        let before = cursor.i16()?;
        cursor.i64()?;
        answer[at..at + 2].copy_from_slice(&code.to_be_bytes());
        answer[at + 2..at + 10].copy_from_slice(&(-1i64).to_be_bytes());
        Ok(before)
    }
}

fn count(of: usize) -> [u8; 4] {
    i32::try_from(of).expect("a small number").to_be_bytes()
}

impl Batch {
    /// Of the first batch of these records.
    fn read(records: &[u8]) -> Read<Batch> {
        let mut cursor = Cursor::new(records, false);
        // Offset, length, epoch of the leader, format, checksum, attributes, last offset, first and last time.
        cursor.take(8 + 4 + 4)?;
        let [format] = cursor.array()?;
        if format != 2 {
            return Err(format!("records of format {format}"));
        }
        cursor.take(4 + 2 + 4 + 8 + 8)?;
        let (producer, epoch) = (cursor.i64()?, cursor.i16()?);
        Ok(Batch { producer, epoch, first_sequence: cursor.i32()?, records: cursor.i32()? })
    }
}

mod recorded {
    //! What one client and one broker said to each other.

    use super::*;

    const INIT: &str = "0016000400000003000e68656164726f6f6d2e7475726e73002f68656164726f6f6d2e74343732336536626338656366\
        66633262353336303936386266316137663132622e302e3100002710ffffffffffffffffffff00";
    const ADD: &str = "0018000000000004000e68656164726f6f6d2e7475726e73002e68656164726f6f6d2e74343732336536626338656366\
        66633262353336303936386266316137663132622e302e31000000000000000100000000000100287434373233653662\
        633865636666633262353336303936386266316137663132622e6576656e74730000000100000000";
    const ADDED: &str = "00000004000000000000000100287434373233653662633865636666633262353336303936386266316137663132622e\
        6576656e747300000001000000000000";
    const WRITE: &str = "0000000a00000005000e68656164726f6f6d2e7475726e73002f68656164726f6f6d2e74343732336536626338656366\
        66633262353336303936386266316137663132622e302e31ffff00007530022974343732336536626338656366666332\
        62353336303936386266316137663132622e6576656e747302000000004a00000000000000000000003d000000000227\
        b84a1b001000000000000001a216e9f7d2000001a216e9f7d20000000000000001000000000000000000011600000001\
        0a6576656e7400000000";
    const WRITTEN: &str = "000000050002297434373233653662633865636666633262353336303936386266316137663132622e6576656e747302\
        0000000000000000000000000002ffffffffffffffff0000000000000000010000000000000000";
    const END: &str = "001a000100000005000e68656164726f6f6d2e7475726e73002e68656164726f6f6d2e74343732336536626338656366\
        66633262353336303936386266316137663132622e302e310000000000000001000001";
    const LOG: &str = "t4723e6bc8ecffc2b5360968bf1a7f12b";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    fn read(hex: &str) -> Request {
        Request::read(&bytes(hex)).unwrap()
    }

    /// Of the second producer of a partition's turns.
    fn request(api: i16, version: i16, correlation: i32) -> Request {
        let (client, transaction) = ("headroom.turns".to_owned(), Some(format!("headroom.{LOG}.0.1")));
        Request { api, version, correlation, client, transaction, places: Vec::new(), batch: None }
    }

    fn to_events(request: Request) -> Request {
        Request { places: vec![(format!("{LOG}.events"), 0)], ..request }
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(read(INIT), request(INIT_PRODUCER_ID, 4, 3));
        assert_eq!(read(ADD), to_events(request(ADD_PARTITIONS_TO_TXN, 0, 4)));
        assert_eq!(read(END), request(END_TXN, 1, 5));
        let batch = Some(Batch { producer: 1, epoch: 0, first_sequence: 0, records: 1 });
        assert_eq!(read(WRITE), Request { batch, ..to_events(request(PRODUCE, 10, 5)) });
    }

    #[test]
    fn unknown_requests_are_named() {
        let mut newer = bytes(WRITE);
        newer[3] = 11;
        let said = Request::read(&newer).unwrap_err();
        assert_eq!(said, "0 v11 of headroom.turns: up to version 10 is understood");
        let whole = bytes(WRITE);
        for length in 0..whole.len() - 3 {
            assert!(Request::read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        assert!(read(END).answer(0).is_err() && read(END).spoil(&mut bytes(WRITTEN), 1).is_err());
    }

    #[test]
    fn answers_are_made_as_the_broker_makes_them() {
        assert_eq!(read(ADD).answer(0).unwrap(), bytes(ADDED));
        let (mut spoilt, mut made) = (bytes(WRITTEN), read(WRITE).answer(19).unwrap());
        assert_eq!(read(WRITE).spoil(&mut spoilt, 19), Ok(0));
        // Where the partition begins is known only to a broker that was asked.
        let begins = made.len() - 17..made.len() - 9;
        assert_eq!(spoilt[begins.clone()], [0; 8]);
        made[begins].fill(0);
        assert_eq!(spoilt, made);
        assert_eq!(read(WRITE).spoil(&mut made, 0), Ok(19));
    }
}
