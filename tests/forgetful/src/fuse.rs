//! The kernel's questions, answered from the disk. Nothing is decided here.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::file::FileBytes;
use crate::folder::Folder;
use crate::medium::{Disk, Operation};
use crate::tree::{Kind, Node, ROOT, Tree};

/// The kernel asks each time.
const NOT_KEPT: Duration = Duration::ZERO;
const BLOCK: u32 = 512;
/// Blocks that are said to be there when there is no limit.
const PLENTY_BLOCKS: u64 = 1 << 31;

/// See the module.
pub(crate) struct Answers {
    disk: Disk,
    life: u64,
}

impl Answers {
    pub(crate) fn new(disk: Disk) -> Answers {
        Answers { life: disk.life(), disk }
    }

    fn look<T>(&self, look: impl FnOnce(&Tree) -> Result<T, Errno>) -> Result<T, Errno> {
        self.disk.look(self.life, look)
    }

    fn change<T>(
        &self,
        operation: Operation,
        node: INodeNo,
        act: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.disk.change(self.life, operation, node.0, act)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        self.change(Operation::Name, parent, |tree| {
            let number = tree.make(parent.0, name, node)?;
            attributes(tree, number)
        })
    }

    fn set_size(&self, node: INodeNo, bytes: u64) -> Result<(), Errno> {
        self.change(Operation::Write, node, |tree| tree.resize(node.0, bytes))
    }

    fn set_mode(&self, node: INodeNo, mode: u32) -> Result<(), Errno> {
        self.change(Operation::Name, node, |tree| {
            tree.node_mut(node.0)?.mode = mode & 0o7777;
            Ok(())
        })
    }
}

fn attributes(tree: &Tree, number: u64) -> Result<FileAttr, Errno> {
    let node = tree.node(number)?;
    let (kind, size, nlink) = match &node.kind {
        Kind::File(file) => (FileType::RegularFile, file.len() as u64, tree.links(number) as u32),
        Kind::Folder(_) => (FileType::Directory, 0, 2),
    };
    let time = SystemTime::UNIX_EPOCH;
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(u64::from(BLOCK)),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: node.mode as u16,
        nlink,
        uid: node.owner.0,
        gid: node.owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn new_node(request: &Request, kind: Kind, mode: u32, umask: u32) -> Node {
    Node { kind, mode: mode & !umask & 0o7777, owner: (request.uid(), request.gid()) }
}

/// Sends an answer or an error, by the reply's own methods.
macro_rules! answer {
    ($result:expr, $reply:expr, |$value:pat_param| $send:expr) => {
        match $result {
            Ok($value) => $send,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Answers {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.look(|tree| attributes(tree, tree.lookup(parent.0, name)?));
        answer!(found, reply, |found| reply.entry(&NOT_KEPT, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.look(|tree| attributes(tree, node.0));
        answer!(found, reply, |found| reply.attr(&NOT_KEPT, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let sized = size.map_or(Ok(()), |bytes| self.set_size(node, bytes));
        let set = sized.and_then(|()| mode.map_or(Ok(()), |mode| self.set_mode(node, mode)));
        let found = set.and_then(|()| self.look(|tree| attributes(tree, node.0)));
        answer!(found, reply, |found| reply.attr(&NOT_KEPT, &found));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let node = new_node(request, Kind::Folder(Folder::default()), mode, umask);
        answer!(self.make(parent, name, node), reply, |made| reply.entry(&NOT_KEPT, &made, Generation(0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let node = new_node(request, Kind::File(FileBytes::default()), mode, umask);
        let flags = FopenFlags::FOPEN_DIRECT_IO;
        answer!(self.make(parent, name, node), reply, |made| {
            reply.created(&NOT_KEPT, &made, Generation(0), FileHandle(0), flags)
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.change(Operation::Name, parent, |tree| tree.unlink(parent.0, name));
        answer!(done, reply, |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.change(Operation::Name, parent, |tree| tree.rmdir(parent.0, name));
        answer!(done, reply, |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        let done = self.change(Operation::Name, parent, |tree| tree.rename(from, to));
        answer!(done, reply, |()| reply.ok());
    }

    fn link(&self, _: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let made = self.change(Operation::Name, new_parent, |tree| {
            tree.link(node.0, new_parent.0, new_name)?;
            attributes(tree, node.0)
        });
        answer!(made, reply, |made| reply.entry(&NOT_KEPT, &made, Generation(0)));
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let found = self.look(|tree| tree.file(node.0).map(drop));
        answer!(found, reply, |()| reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.disk.read(self.life, node.0, offset, size);
        answer!(read, reply, |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = self.change(Operation::Write, node, |tree| tree.write(node.0, offset, data));
        answer!(done, reply, |()| reply.written(data.len() as u32));
    }

    /// A file is closed, which flushes nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        answer!(self.look(|_| Ok(())), reply, |()| reply.ok());
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        let done = self.disk.flush(self.life, Operation::Flush, node.0);
        answer!(done, reply, |()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        let done = self.disk.flush(self.life, Operation::FlushFolder, node.0);
        answer!(done, reply, |()| reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let done = self.change(Operation::Write, node, |tree| tree.allocate(node.0, offset + length));
        answer!(done, reply, |()| reply.ok());
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = self.look(|tree| entries(tree, node.0));
        answer!(entries, reply, |entries| {
            for (at, (number, kind, name)) in (1..).zip(&entries).skip(offset as usize) {
                if reply.add(INodeNo(*number), at, *kind, name) {
                    break;
                }
            }
            reply.ok()
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let sizes = self.look(|tree| Ok((tree.capacity, tree.used())));
        answer!(sizes, reply, |(capacity, used)| {
            let blocks = capacity.map_or(PLENTY_BLOCKS, |bytes| bytes / u64::from(BLOCK));
            let free = blocks.saturating_sub(used.div_ceil(u64::from(BLOCK)));
            reply.statfs(blocks, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK)
        });
    }
}

type Entries = Vec<(u64, FileType, std::ffi::OsString)>;

fn entries(tree: &Tree, number: u64) -> Result<Entries, Errno> {
    let mut out: Entries = vec![
        (number, FileType::Directory, ".".into()),
        // Whoever wants to know the parent asks for it by name.
        (ROOT, FileType::Directory, "..".into()),
    ];
    for (name, node) in tree.folder(number)?.names() {
        out.push((*node, attributes(tree, *node)?.kind, name.clone()));
    }
    Ok(out)
}
