package identity

const peerUserUnknown = false
