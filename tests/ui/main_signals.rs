#[callboard::main(signals = "no")]
async fn main() {}

#[callboard::test(signals = false)]
async fn tests_know_no_signals() {}
