//! The messages of PostgreSQL's protocol, for proxies that stand between a sink and its database.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Listens on a port, which is answered, and serves each client in a thread of its own, until it leaves.
pub fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(client));
        }
    });
    port
}

/// What comes behind the letter of a message.
pub fn body(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; (u32::from_be_bytes(length) - 4) as usize];
    from.read_exact(&mut body)?;
    Ok(body)
}

pub fn send(to: &mut impl Write, tag: u8, body: &[u8]) -> io::Result<()> {
    let mut message = vec![tag];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    to.write_all(&message)
}

/// Passes on the first message of a client, which has no letter: version 3.0 of the protocol, and nothing before it.
pub fn greet(client: &mut impl Read, server: &mut impl Write) -> io::Result<()> {
    let startup = body(client)?;
    assert_eq!(startup.first_chunk(), Some(&196_608_u32.to_be_bytes()), "a startup message comes first");
    server.write_all(&u32::try_from(startup.len() + 4).unwrap().to_be_bytes())?;
    server.write_all(&startup)
}
