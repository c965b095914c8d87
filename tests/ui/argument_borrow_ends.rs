//! A call borrows until it is sent: what it borrows has to live as long.

use callboard::prelude::*;

pub struct Greeter;

#[actor]
impl Greeter {
    pub fn new() -> Self {
        Self
    }

    pub fn greet(&self, name: &str) -> String {
        name.to_owned()
    }
}

pub async fn greet(greeter: &GreeterProxy) -> callboard::Result<String> {
    let call = {
        let name = String::from("somebody");
        greeter.greet(&name)
    };
    Ok(call.await?)
}

fn main() {}
