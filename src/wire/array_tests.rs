//! Tests of arrays as values, within one process.

use super::*;
use crate::wire::blob::Blob;
use crate::wire::blob::tests::{received, sent};

/// Arrays and their parts travel as the memory that they are.
#[test]
fn arrays_are_values() {
    let array = Array::copy_from(&[1_i32, 2, 3, 4, 5]).unwrap();
    let message = (
        array.clone(),
        vec![array.slice(1..4).unwrap()],
        String::from("x"),
    );
    let sent = sent(&message);
    assert_eq!(sent.1.holds().count(), 1);
    let (whole, parts, _): (Array<i32>, Vec<Array<i32>>, String) = received(&sent).unwrap();
    parts[0].set(2, 40).unwrap();
    assert_eq!(whole.to_vec(), [1, 2, 3, 40, 5]);
    assert!(whole.shares_memory(&array) && parts[0].len() == 3);
    assert_eq!(array.get(3), Ok(40));
}

/// What lies beside a message is an array of these numbers, or refused.
#[test]
fn what_does_not_fit_is_refused() {
    let array = Array::<u32>::new(3).unwrap();
    let good = sent(&array);
    assert!(received::<Array<f32>>(&good).is_ok(), "they have one size");
    assert!(received::<Array<u16>>(&good).is_err());
    assert!(received::<Blob>(&good).is_err() && received::<Blob<String>>(&good).is_err());
    let blob = Blob::copy_from(&[1_u32]).unwrap();
    assert!(received::<Array<u32>>(&sent(&blob)).is_err());
    let part = |begin, len| {
        let memory = 0;
        (sent(&Part { memory, begin, len }).0, good.1.clone())
    };
    assert_eq!(received::<Array<u32>>(&part(4, 8)).unwrap().len(), 2);
    for (begin, len) in [(0, 16), (12, 4), (2, 4), (0, 6), (u64::MAX - 3, 4)] {
        assert!(received::<Array<u32>>(&part(begin, len)).is_err());
    }
    let outside = codec::encode(&array, usize::MAX, |_| ());
    assert!(outside.is_err(), "nothing may travel beside it");
}

/// Every range is within the array or an error, and an error changes nothing.
#[test]
fn ranges_are_checked() {
    let array = Array::copy_from(&[1_u8, 2, 3]).unwrap();
    let max = usize::MAX;
    for index in [3, 4, max] {
        assert!(array.get(index).is_err() && array.set(index, 0).is_err());
        assert!(array.swap(index, 0).is_err() && array.update(index, |n| n).is_err());
        assert!(array.compare_exchange(index, 0, 0).is_err());
    }
    assert_eq!(array.get_range(..=1).unwrap(), [1, 2]);
    assert!(array.get_range(3..).unwrap().is_empty());
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let reversed = 2..1;
    assert!(array.get_range(reversed).is_err());
    assert!(array.get_range(..=max).is_err() && array.slice(max..).is_err());
    assert!(array.set_range(2, &[7, 8]).is_err() && array.set_range(max, &[7]).is_err());
    let mut two = [9; 2];
    assert!(array.copy_to(2, &mut two).is_err() && two == [9; 2]);
    assert_eq!(array.to_vec(), [1, 2, 3]);
    assert!(array.set_range(3, &[]).is_ok());
    assert!(Array::<f64>::new(max).is_err());
}

/// Threads that update the same numbers lose nothing, and see no number that nobody wrote.
#[test]
fn updates_are_not_lost() {
    const EACH: u32 = 10_000;
    let array = Array::<f32>::new(2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    array.update(0, |number| number + 1.0).unwrap();
                    let seen = array.get(1).unwrap();
                    assert!(seen == 0.0 || seen == 1e30 || seen == -1e-30, "{seen}");
                    array
                        .set(1, if seen > 0.0 { -1e-30 } else { 1e30 })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(array.get(0).unwrap(), 30_000.0);
}
