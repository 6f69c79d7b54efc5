//! A stored result on its way: unpacked beside its targets, by several threads, and renamed when whole.

use super::{OutputFile, Temporary, Whole};
use crate::entry::{Damage, PartKind, Piece, Stored, Unpacker};
use compiler::file_memo::WorkingDirectory;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The files of one result. Until [`Whole::publish`] nothing of them is to be seen but temporary
/// names, if any, and those go when it is dropped.
pub struct Delivery {
    temporaries: Vec<(PartKind, Temporary)>,
    work: Arc<Work>,
    /// What is written in place of a stored part.
    replaced: Option<(PartKind, Vec<u8>)>,
}

/// What is to be unpacked and written.
pub struct Work {
    stored: Stored,
    jobs: Vec<Job>,
    /// The first job that nobody has taken.
    next: AtomicUsize,
    progress: Mutex<Progress>,
    done: Condvar,
}

struct Job {
    kind: PartKind,
    piece: Piece,
    file: Arc<File>,
}

struct Progress {
    unfinished: usize,
    /// Somebody waits for the last job. To wake nobody would be a system call, too.
    awaited: bool,
    error: Option<io::Error>,
}

impl Delivery {
    /// Prepares for the parts that are there.
    pub fn begin(
        here: &Arc<WorkingDirectory>,
        stored: Stored,
        files: &[OutputFile],
    ) -> io::Result<Delivery> {
        let mut temporaries = Vec::with_capacity(files.len());
        let mut jobs = Vec::new();
        for output in files {
            let Some(part) = stored.part(output.kind) else { continue };
            let temporary = Temporary::create(here, output)?;
            let file = Arc::clone(&temporary.file);
            temporaries.push((output.kind, temporary));
            let pieces = part.pieces()?.into_iter();
            jobs.extend(pieces.map(|piece| Job { kind: output.kind, piece, file: file.clone() }));
        }
        let progress = Mutex::new(Progress { unfinished: jobs.len(), awaited: false, error: None });
        let (next, done) = (AtomicUsize::new(0), Condvar::new());
        let work = Arc::new(Work { stored, jobs, next, progress, done });
        Ok(Delivery { temporaries, work, replaced: None })
    }

    /// The result.
    pub fn stored(&self) -> &Stored {
        &self.work.stored
    }

    /// Delivers these bytes as one part, in place of those that are stored.
    pub fn replace(&mut self, kind: PartKind, bytes: Vec<u8>) {
        self.replaced = Some((kind, bytes));
    }

    /// For threads that may help.
    pub fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }

    /// The same, but `None` where a thread would cost more than it could save.
    pub fn work_to_share(&self) -> Option<Arc<Work>> {
        const JOBS_MIN: usize = 3;
        (self.work.jobs.len() >= JOBS_MIN).then(|| self.work())
    }

    /// Does what nobody else does, and waits for the others.
    pub fn finish(self) -> io::Result<Whole> {
        self.work.run();
        let mut progress = self.work.lock();
        while progress.unfinished > 0 {
            progress.awaited = true;
            progress = self.work.done.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = progress.error.take() {
            return Err(error);
        }
        drop(progress);
        if let Some((kind, bytes)) = &self.replaced {
            for (_, temporary) in self.temporaries.iter().filter(|(of, _)| of == kind) {
                temporary.file.set_len(0)?;
                temporary.file.write_all_at(bytes, 0)?;
            }
        }
        Whole::close(self.temporaries.into_iter().map(|(_, temporary)| temporary).collect())
    }
}

impl Work {
    /// Takes one job after the other until none is left.
    pub fn run(&self) {
        // Taken when there is something to do: whoever comes late leaves at once.
        let mut unpacker = None;
        while let Some(job) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let mut ending = Ending { work: self, result: Err(io::ErrorKind::Other.into()) };
            ending.result = self.unpack(job, &mut unpacker);
        }
    }

    fn unpack(&self, job: &Job, unpacker: &mut Option<Unpacker>) -> io::Result<()> {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(Unpacker::take()?),
        };
        let part = self.stored.part(job.kind).ok_or(Damage::Length)?;
        job.file.write_all_at(part.unpack(&job.piece, unpacker)?, job.piece.offset)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a job that was taken, also where its thread panics: somebody waits for it.
struct Ending<'w> {
    work: &'w Work,
    result: io::Result<()>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut progress = self.work.lock();
        progress.unfinished -= 1;
        if let Err(error) = std::mem::replace(&mut self.result, Ok(())) {
            progress.error.get_or_insert(error);
        }
        if progress.unfinished == 0 && progress.awaited {
            self.work.done.notify_all();
        }
    }
}
