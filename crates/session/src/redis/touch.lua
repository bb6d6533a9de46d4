-- Extends a session. Replies even while Redis refuses writes because memory or disk is full.
-- KEYS  1 session  2 name
-- ARGV  1 idle time, ms  2 absolute limit, ms
-- Reply the time left until the absolute limit, ms; nil if the session is gone.
local created = redis.call('HGET', KEYS[1], 'created')
local now, max = clock(), tonumber(ARGV[2])
if not created or now >= created + max then
  return false
end
local reply = extend(KEYS[1], KEYS[2], tonumber(created), now, tonumber(ARGV[1]), max)
-- A replica may not know of the latest sessions, so its answer is refused.
if type(reply) == 'table' and reply.err and string.find(reply.err, 'READONLY', 1, true) then
  return reply
end
return created + max - now
