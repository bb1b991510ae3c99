//! The interface of a namespace, made before the NAT that will serve it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::guard;

/// Name of the interface.
pub(super) const NAME: &str = "eth0";

/// Its address in the link layer: the same everywhere, so that no command sees a random one.
const MAC: [u8; 6] = [0x02, 0x62, 0x6b, 0x6c, 0x00, 0x01];

/// Makes the interface in this thread's network namespace: a TAP device with the guard on it, which stays without anybody
/// having it open. A NAT that opens a device of this name gets this one.
///
/// # Errors
/// What was tried, and the system call's error.
pub(super) fn make() -> Result<(), (&'static str, io::Error)> {
    let tap = File::options().read(true).write(true).open("/dev/net/tun");
    let tap = OwnedFd::from(tap.map_err(|err| ("open /dev/net/tun", err))?);
    let mut request = request();
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    call(&tap, libc::TUNSETIFF as _, &mut request).map_err(|err| ("make a TAP device", err))?;
    guard::attach(&tap).map_err(|err| ("guard the TAP device", err))?;
    set_address(&tap, &mut request).map_err(|err| ("address the TAP device", err))?;
    // SAFETY: takes numbers only.
    match unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST as _, 1) } {
        0 => Ok(()),
        _ => Err(("keep the TAP device", io::Error::last_os_error())),
    }
}

fn set_address(tap: &OwnedFd, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all bytes zero is a valid `sockaddr`.
    let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in address.sa_data.iter_mut().zip(MAC) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    call(tap, libc::SIOCSIFHWADDR as _, request)
}

/// A request about the interface.
fn request() -> libc::ifreq {
    // SAFETY: all bytes zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request
}

fn call(fd: &OwnedFd, number: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: these calls take a pointer to an `ifreq` that outlives them.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number as _, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
