-- Looks up a session by a valid key and extends it. Replies even while Redis refuses writes.
-- KEYS  1 session  2 name
-- ARGV  1 digest of the presented secret  2 idle time, ms  3 absolute limit, ms  4 grace period, ms
-- Reply {user, display name or nil, state}; nil if the session is gone or the key is not valid.
local user, name, state, created, keys = unpack(redis.call('HMGET', KEYS[1], 'user', 'name', 'state', 'created', 'keys'))
local now, max = clock(), tonumber(ARGV[3])
-- Redis keys expire at the limit in force when they were last extended. It may have been lowered since.
if not keys or now >= created + max then
  return false
end
local ring, at, changed = present(cjson.decode(keys), ARGV[1], now, tonumber(ARGV[4]))
if not at then
  return false
end
if changed then
  redis.pcall('HSET', KEYS[1], 'keys', cjson.encode(ring))
end
extend(KEYS[1], KEYS[2], tonumber(created), now, tonumber(ARGV[2]), max)
return { user, name, state }
