//! Disks that a test may fill or cut the power of. They need root and loop devices; where these
//! cannot be had, making one gives the reason.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a command of the system.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), text.trim()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(kind: &str, options: &str, source: &str, at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| format!("create {}: {e}", at.display()))?;
        run("mount", &["-t", kind, "-o", options, source, text(at)])?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was just killed may hold it for a moment: detach it then.
        if run("umount", &[text(&self.at)]).is_err()
            && let Err(e) = run("umount", &["-l", text(&self.at)])
        {
            eprintln!("{e}");
        }
    }
}

/// A small file system in memory.
#[derive(Debug)]
pub struct Tmpfs {
    mount: Mount,
    _below: TempDir,
}

impl Tmpfs {
    /// Mounts one of this many bytes.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn new(bytes: u64) -> Result<Self, String> {
        let below = tempfile::tempdir().map_err(|e| e.to_string())?;
        let options = format!("size={bytes}");
        let mount = Mount::new("tmpfs", &options, "tmpfs", &below.path().join("disk"))?;
        Ok(Self { mount, _below: below })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mount.at
    }

    /// Makes it larger or smaller.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        run("mount", &["-o", &options, text(self.path())]).expect("remount");
    }
}

/// A disk with ext4 whose power can be cut: an image in memory behind a loop device. What was not
/// made durable is in the page cache only, so a copy of the image is what a power cut leaves.
#[derive(Debug)]
pub struct LoopDisk {
    mount: Option<Mount>,
    image: PathBuf,
    images: u32,
    /// Dropped after the mount above, which lies in it.
    ram: Tmpfs,
}

/// The journal is written only when somebody syncs, and not by the clock.
const OPTIONS: &str = "loop,noatime,commit=300";

impl LoopDisk {
    /// Makes a disk of this many bytes and mounts it.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn new(bytes: u64) -> Result<Self, String> {
        let ram = Tmpfs::new(3 * bytes)?;
        let image = ram.path().join("disk-0.img");
        let file = File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(bytes).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        let mut disk = Self { mount: None, image, images: 1, ram };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<(), String> {
        let at = self.ram.path().join("mounted");
        self.mount = Some(Mount::new("ext4", OPTIONS, text(&self.image), &at)?);
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.ram.path().join("mounted")
    }

    /// Copies what has reached the disk by now. Whoever writes to it should be stopped.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn copy(&mut self) -> PathBuf {
        let copy = self.ram.path().join(format!("disk-{}.img", self.images));
        self.images += 1;
        run("cp", &["--sparse=always", text(&self.image), text(&copy)]).expect("copy the disk");
        copy
    }

    /// Goes on with the disk as it was copied, the journal replayed. Nobody may use it.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn restart_with(&mut self, copy: PathBuf) {
        self.mount = None;
        std::fs::remove_file(&self.image).expect("remove the old image");
        self.image = copy;
        self.mount().expect("mount the copy");
    }
}
