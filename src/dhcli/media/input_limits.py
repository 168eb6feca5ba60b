"""Limits for files from strangers: what ffmpeg may open, which decoders it may use, how much it may consume.

ffmpeg's own options limit what they can; limits of the kernel do the rest.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from dataclasses import dataclass

MAX_PIXELS = 8192 * 4320
"""The largest format of cinema. It is checked before anything is decoded: a 374 kB PNG can unpack to gigabytes."""
MAX_ALLOC_BYTES = 1 << 30
"""For one allocation; the largest legitimate one is a picture of MAX_PIXELS with 16 bits and alpha, half of this."""
MAX_DURATION_S = 4 * 3600.0
"""Longer inputs are refused unless --max-duration allows them: a header of 100 bytes can say that a file has a year."""
MEMORY_SHARE = 0.75
"""Of the machine's memory, for one child. The kernel would kill a child that needs more in any case."""
CPU_BASE_S = 1800
"""Processor time for probing a file; reading the packets of 100 GB takes 500 s."""
CPU_PER_FRAME_S = 10
"""Processor time for decoding a frame, in addition; an 8K frame from AV1 with a tone map takes 1 s."""

# Playlists (hls, concat, dash, sdp, image2) are absent on purpose: saved as .mp4 they make ffmpeg read other files.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,gif,nut,dv,rm,h264,hevc,av1,obu,m4v,mjpeg,yuv4mpegpipe,"
    "wav,w64,mp3,mpc,mpc8,shn,iff,aac,loas,flac,aiff,caf,amr,amrnb,amrwb,ac3,eac3,dts,au,ape,tta,wv,tak,dsf,"
    "png_pipe,jpeg_pipe,webp_pipe,webp_anim,apng,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,pbm_pipe,pam_pipe,pgmyuv_pipe,jpegxl_pipe,"
    "jpegxl_anim,gif_pipe,pcx_pipe,image2pipe,ico,j2k_pipe,dpx_pipe,exr_pipe,qoi_pipe,sgi_pipe"
)
"""Demuxers that an input may use."""

# Absent on purpose: SVG (an XML library behind it), text drawn as pictures, and the formats of 1990s games.
VIDEO_CODECS = (
    "h264,hevc,av1,libdav1d,libaom-av1,vvc,vp8,vp9,libvpx,libvpx-vp9,vp6,vp6f,vp6a,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,"
    "msmpeg4v2,msmpeg4,h261,h263,h263i,h263p,flv,wmv1,wmv2,wmv3,vc1,theora,rv10,rv20,rv30,rv40,svq1,svq3,cinepak,indeo3,indeo4,"
    "indeo5,dvvideo,mjpeg,mjpegb,jpegls,jpeg2000,libjxl,libjxl_anim,prores,prores_raw,dnxhd,cfhd,hap,apv,ffv1,ffvhuff,huffyuv,"
    "utvideo,magicyuv,lagarith,snow,qtrle,rpza,smc,msrle,msvideo1,flashsv,flashsv2,camtasia,tscc2,zmbv,zlib,mszh,rawvideo,"
    "v210,v210x,r210,r10k,y41p,yuv4,wrapped_avframe,"
    "png,apng,gif,webp,webp_anim,bmp,tiff,ppm,pgm,pbm,pam,pgmyuv,pfm,phm,dpx,exr,qoi,sgi,targa,pcx"
)
AUDIO_CODECS = (
    "aac,aac_fixed,aac_latm,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,libvorbis,flac,alac,ac3,ac3_fixed,eac3,"
    "dca,truehd,mlp,als,ape,tta,wavpack,tak,shorten,wmav1,wmav2,wmapro,wmalossless,wmavoice,amrnb,amrwb,libopencore_amrnb,"
    "libopencore_amrwb,gsm,gsm_ms,speex,nellymoser,cook,sipr,ralf,real_144,real_288,qdm2,qdmc,qcelp,evrc,g722,g726,g726le,"
    "g723_1,g729,ilbc,dvaudio,s302m,mace3,mace6,truespeech,mpc7,mpc8,dst,dsd_lsbf,dsd_msbf,dsd_lsbf_planar,dsd_msbf_planar,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_vidc,pcm_bluray,pcm_dvd,pcm_lxf,pcm_s8,"
    "pcm_s8_planar,pcm_u8,pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_u16be,pcm_u16le,pcm_s24be,pcm_s24daud,"
    "pcm_s24le,pcm_s24le_planar,pcm_u24be,pcm_u24le,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_u32be,pcm_u32le,pcm_s64be,"
    "pcm_s64le,pcm_f16le,pcm_f24le,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le"
)
CODECS = f"{VIDEO_CODECS},{AUDIO_CODECS}"
"""Decoders that an input may use."""


def limits_argv(protocols: str = "file,pipe") -> list[str]:
    """Options before every input: the demuxers, protocols and decoders that it may use, and the largest picture."""
    return [
        *("-protocol_whitelist", protocols, "-format_whitelist", FORMATS, "-codec_whitelist", CODECS),
        *("-max_pixels", str(MAX_PIXELS)),
    ]


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one ffmpeg may consume."""

    cpu_s: int | None = CPU_BASE_S
    """Processor time; None: any."""
    file_bytes: int | None = None
    """Size of each file that it writes; None: any."""


def confine(pid: int, limits: ChildLimits) -> None:
    """Set limits of the kernel for a child that was just started: `limits`, its memory, and no core dump.

    They are set from outside, since code between fork and exec can deadlock in a process with threads. Where the system
    cannot do that, ffmpeg's options and the watchdog remain.
    """
    if sys.platform != "linux":
        return
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    # Not RLIMIT_AS: every thread's arena reserves 64 MiB of addresses that are never used.
    wanted = {resource.RLIMIT_DATA: memory, resource.RLIMIT_CORE: 0}
    if limits.cpu_s is not None:
        wanted[resource.RLIMIT_CPU] = limits.cpu_s
    if limits.file_bytes is not None:
        wanted[resource.RLIMIT_FSIZE] = limits.file_bytes
    for which, most in wanted.items():
        with contextlib.suppress(OSError):  # the child has ended already, or a sandbox forbids it
            soft, hard = resource.prlimit(pid, which)
            allowed = min([most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
            resource.prlimit(pid, which, (allowed, hard))
