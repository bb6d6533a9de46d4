-- Ends a session, frees its name and, if it existed, notifies all instances.
-- KEYS  1 session  2 name
-- ARGV  1 sid  2 channel
-- Reply 1; 0 if the session was gone.
local ended = redis.call('DEL', KEYS[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
if ended == 1 then
  redis.call('PUBLISH', ARGV[2], ARGV[1])
end
return ended
