-- Counts as use of a session. Answers even while Redis refuses writes for want of memory or disk.
-- KEYS  1 session  2 name
-- ARGV  1 idle, ms  2 absolute limit, ms
-- Reply the ms until the absolute limit; nil if the session is gone.
local created = redis.call('HGET', KEYS[1], 'created')
local now, max = clock(), tonumber(ARGV[2])
if not created or now >= created + max then
  return false
end
local refused = extend(KEYS[1], KEYS[2], tonumber(created), now, tonumber(ARGV[1]), max)
-- A replica's word is not the last one.
if type(refused) == 'table' and refused.err and string.find(refused.err, 'READONLY', 1, true) then
  return refused
end
return created + max - now
