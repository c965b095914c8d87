"""uActor's pool, given the pieces of work that the others are given.

Orders come as lines on standard input, and each is answered by one line of nanoseconds:

    work PIECES NANOS               how long all of them took
    calls COUNT EVERY_NANOS NANOS   how long each took, from when it was due

The first argument is how many members the pool has. NANOS is the CPU time of a piece.
"""

import itertools
import multiprocessing.pool
import sys
import threading
import time

import uactor


class Worker(uactor.Actor):
    def work(self, nanos):
        until = time.thread_time_ns() + nanos
        while time.thread_time_ns() < until:
            pass
        return nanos


class AsyncActorPool:
    """As uActor's manual has it, chapter "Actor pools"."""

    def __init__(self, size, cls, *args, **kwargs):
        self.threadpool = multiprocessing.pool.ThreadPool(size)
        self.pool = [cls(*args, **kwargs) for _ in range(size)]
        self.actors = itertools.cycle(self.pool)

    def call(self, method, *args, callback=None, **kwargs):
        func = getattr(next(self.actors), method)
        return self.threadpool.apply_async(func, args, kwargs, callback)

    def shutdown(self):
        self.threadpool.terminate()
        for actor in self.pool:
            actor.shutdown()


def work(pool, pieces, nanos):
    began = time.monotonic_ns()
    results = [pool.call("work", nanos) for _ in range(pieces)]
    for result in results:
        result.get()
    return [time.monotonic_ns() - began]


def calls(pool, count, every, nanos):
    took = []
    done = threading.Semaphore(0)

    def answered(due):
        def note(_):
            took.append(time.monotonic_ns() - due)
            done.release()

        return note

    begin = time.monotonic_ns()
    for number in range(count):
        due = begin + number * every
        wait = due - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        pool.call("work", nanos, callback=answered(due))
    for _ in range(count):
        done.acquire()
    return took


def main():
    pool = AsyncActorPool(int(sys.argv[1]), Worker)
    orders = {"work": work, "calls": calls}
    try:
        for line in sys.stdin:
            order, *numbers = line.split()
            took = orders[order](pool, *map(int, numbers))
            print(*took, flush=True)
    finally:
        pool.shutdown()


if __name__ == "__main__":
    main()
