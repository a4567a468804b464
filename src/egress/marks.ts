/** What the parts of egress on a host agree on: marks, groups, sizes. */

/** Packets that another host translates back carry STEER_MARK with that host's index in the low half. */
export const STEER_MARK = 0x0010_0000
export const STEER_MASK = 0xffff_0000

export const steerMark = (hostIndex: number): number => STEER_MARK | hostIndex

/** Packets that leave by the uplink although their destination is one of this host's addresses. */
export const UPLINK_MARK = 0x0020_0000
/** Packets with none of these bits are routed as if there were no egress. */
export const ROUTED_MASK = 0x00ff_0000

/** Interface group of the overlay that steered packets leave by. */
export const OVERLAY_GROUP = 43

/**
 * What fits the overlay: the mesh's 1,420 bytes without IPv6 (40), UDP (8) and VXLAN (8). TCP of
 * machines with a static address says so from its first segment, since their answers may be steered.
 */
export const OVERLAY_MTU = 1_364

/** Interface group of every machine's veth: one rule serves all machines. */
export const MACHINE_GROUP = 42
