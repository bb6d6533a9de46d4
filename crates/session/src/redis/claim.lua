-- Creates a session without a key and claims its name.
-- KEYS  1 session (hash)  2 name (string: the sid of the session that holds it, a space, its user)  3 keep-out
-- ARGV  1 sid  2 user  3 lifetime of both until a key is issued, ms
-- Reply {'created'}; {'full'} if another session holds the name; {'kept_out', ms}
local left = redis.call('PTTL', KEYS[3])
if left > 0 then
  return { 'kept_out', left }
end
if not redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[2], 'NX', 'PX', ARGV[3]) then
  return { 'full' }
end
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'created', string.format('%.0f', clock()))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'created' }
