//! Somebody on the way to an actor.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use callboard::Address;

use super::common::place_of;

/// Passes on to `address`, and back, as many bytes of those that come as `pass` wants to, who may
/// change them: told whether they come from the client. Where he does not want all, he ends the
/// connection, in both directions.
pub fn between(
    address: &Address,
    pass: impl Fn(bool, &mut [u8]) -> usize + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are sockets");
    let own = listener.local_addr().expect("there are sockets");
    let (place, pass) = (place_of(address), Arc::new(pass));
    thread::spawn(move || {
        let (near, _) = listener.accept().expect("there are sockets");
        let far = TcpStream::connect(place).expect("there are sockets");
        for (from_client, from, to) in [(true, &near, &far), (false, &far, &near)] {
            let (from, to) = (from.try_clone(), to.try_clone());
            let (mut from, mut to) = (
                from.expect("there are sockets"),
                to.expect("there are sockets"),
            );
            let pass = Arc::clone(&pass);
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = from.read(&mut bytes) {
                    let passing = pass(from_client, &mut bytes[..len]);
                    if to.write_all(&bytes[..passing]).is_err() || passing < len {
                        break;
                    }
                }
                // The other direction may have ended it.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    format!("tcp://{own}")
}
