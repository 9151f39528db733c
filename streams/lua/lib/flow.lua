-- flow: how the end of a stage moves its flow. Needs ledger, append and finish.
--
-- KEYS  flow_      HASH    by flow: its state, and by stage what is below
--       flow_jobs_ LIST    by flow: its stages' jobs
--       flow_steps LIST    what one call could not finish: round, flow, step, and more
--       flow_fans  SET     flow|round|stage whose list is to be fanned out
--       doorbell_  STREAM  `flows`: there are steps or fans
-- SETS  retention_ms       int  how long an ended flow is kept
-- A flow's hash: state (running, stopping, ended), left and total (stages), open (jobs of stages not ended), and
-- for each stage p (its plan, JSON), s (kind policy job), k (stages after it, a comma after each), w (stages before it that
-- have not ended), l (its jobs that have not ended), b (those that failed), d (1: it will be skipped),
-- e (how it ended: go or doom). What is left over bears its round: it is nothing to a flow stored anew by a retry. A step touches at most STEPS_MAX jobs or stages in one call; what
-- remains goes to flow_steps, for the next call or the chore.
local STEPS_MAX = 100
local queue, stepped = {}, 0

local function step(...)
  queue[#queue + 1] = { ... }
end

local function round_of(flow)
  return redis.call('HGET', flow_ .. flow, 'round') or '-'
end

local function read_stage(flow, stage)
  local stored = redis.call('HGET', flow_ .. flow, 's:' .. stage)
  if not stored then return nil end
  return string.match(stored, '^(%S+) (%S+) (%S+)$')
end

-- Nothing of the flow starts any more; when all its jobs have ended, it ends in the state `to`.
local function stop_flow(flow, to, code, message)
  if redis.call('HGET', flow_ .. flow, 'state') ~= 'running' then return false end
  redis.call('HSET', flow_ .. flow, 'state', 'stopping', 'to', to, 'code', code, 'error', message)
  step(flow, 'stop', 0)
  return true
end

-- The job of a flow itself has ended while stages live: they end too.
stop_stages = function(job, code, message)
  stop_flow(job.id, job.state, code or job.state, message or '')
end

-- A job of a stage has ended.
advance = function(job, code, message)
  local flow, stage = job.flow, string.match(job.stage, '^[^:]+')
  local key = flow_ .. flow
  local state = redis.call('HGET', key, 'state')
  if not state then return end
  local open = redis.call('HINCRBY', key, 'open', -1)
  local left = redis.call('HINCRBY', key, 'l:' .. stage, -1)
  local good = job.state == 'succeeded'
  if not good and not job.skipped then
    redis.call('HINCRBY', key, 'b:' .. stage, 1)
    local _, policy = read_stage(flow, stage)
    if policy == 'fail' then
      stop_flow(flow, 'dead', 'stage_failed', job.stage .. ' ended ' .. job.state .. ': ' .. (message or code or ''))
      state = redis.call('HGET', key, 'state')
    end
  end
  if state == 'stopping' then
    if open == 0 then step(flow, 'end') end
  elseif left == 0 then
    local bad = tonumber(redis.call('HGET', key, 'b:' .. stage) or 0) > 0
    step(flow, 'after', stage, 1, job.skipped and 'skipped' or bad and 'bad' or 'good')
  end
end

-- ---------------------------------------------------------------- steps, by name

local take_step = {}

-- One stage may start: it has no unended stage before it.
function take_step.release(flow, stage)
  local kind, _, id = read_stage(flow, stage)
  if redis.call('HGET', flow_ .. flow, 'd:' .. stage) then return step(flow, 'skip', stage) end
  if kind == 'each' then
    redis.call('SADD', flow_fans, flow .. '|' .. round_of(flow) .. '|' .. stage)
    return ring('flows')
  end
  local job = read_job(id)
  if not job or job.state ~= 'blocked' then return end
  redis.call('SREM', blocked, id)
  redis.call('HSET', job_ .. id, 'state', 'waiting', 'entry', append(id, job.lane))
  move(job.lane, 'blocked', 'waiting')
  event('released', id, job.lane, 'waiting', 0)
end

-- A stage before this one did not succeed, and said that those after it are skipped.
function take_step.skip(flow, stage)
  local kind, _, id = read_stage(flow, stage)
  local job = kind == 'one' and read_job(id)
  if job and job.state == 'blocked' then
    job.skipped = true
    finish(job, 'cancelled', 'skipped', 'a stage before it did not succeed')
  else
    step(flow, 'after', stage, 1, 'skipped')
  end
end

-- A stage has ended: the stages after it, from byte `from` of their names on.
function take_step.after(flow, stage, from, outcome)
  local key = flow_ .. flow
  from = tonumber(from)
  local _, policy = read_stage(flow, stage)
  local go = outcome == 'good' or policy == 'continue'
  if from == 1 then redis.call('HSET', key, 'e:' .. stage, (go and 'go ' or 'doom ') .. outcome) end
  local names = redis.call('HGET', key, 'k:' .. stage) or ''
  while from <= #names do
    if stepped >= STEPS_MAX then return step(flow, 'after', stage, from, outcome) end
    local stop = string.find(names, ',', from, true)
    local following = string.sub(names, from, stop - 1)
    from, stepped = stop + 1, stepped + 1
    if not go then redis.call('HSET', key, 'd:' .. following, 1) end
    if redis.call('HINCRBY', key, 'w:' .. following, -1) == 0 then step(flow, 'release', following) end
  end
  if redis.call('HINCRBY', key, 'left', -1) == 0 and redis.call('HGET', key, 'state') == 'running' then
    step(flow, 'end')
  end
end

-- The flow's jobs from number `from` on: ended, or asked to stop.
function take_step.stop(flow, from)
  local ids = redis.call('LRANGE', flow_jobs_ .. flow, from, from + STEPS_MAX - 1)
  for _, id in ipairs(ids) do
    local job = read_job(id)
    if not job then -- past its retention, or taken out by hand
    elseif job.state == 'waiting' or job.state == 'delayed' or job.state == 'blocked' then
      finish(job, 'cancelled', 'flow_stopped', 'its flow has stopped')
    elseif job.state == 'active' and not job.cancel then
      redis.call('HSET', job_ .. id, 'cancel', 'its flow has stopped')
      redis.call('XADD', doorbell_ .. job.class, 'MAXLEN', 16, '*', 'cancel', id)
    end
  end
  stepped = stepped + #ids
  if #ids == STEPS_MAX then return step(flow, 'stop', from + STEPS_MAX) end
  if tonumber(redis.call('HGET', flow_ .. flow, 'open') or 0) == 0 then step(flow, 'end') end
end

-- All stages have ended, or all jobs of a flow that was stopped.
take_step['end'] = function(flow)
  local key = flow_ .. flow
  local row = redis.call('HMGET', key, 'state', 'to', 'code', 'error', 'result')
  local parent = read_job(flow)
  if row[1] == 'ended' or (parent and parent.state == 'active') then return end -- settle goes on
  redis.call('HSET', key, 'state', 'ended')
  if parent and parent.state == 'blocked' then
    parent.parts = nil
    if row[1] == 'stopping' then
      finish(parent, row[2], row[3], row[4])
    else
      parent.apart = string.sub(row[5], 1, 5) == 'each ' -- a list that is put together when it is read
      local result = row[5] ~= '' and not parent.apart and redis.call('GET', result_ .. row[5])
      finish(parent, 'succeeded', nil, nil, result or 'null')
    end
  end
  step(flow, 'keep', 0)
end

-- From now on what the flow's jobs left is kept for as long as other jobs.
function take_step.keep(flow, from)
  local ids = redis.call('LRANGE', flow_jobs_ .. flow, from, from + STEPS_MAX - 1)
  for _, id in ipairs(ids) do
    for _, prefix in ipairs({ job_, payload_, result_ }) do redis.call('PEXPIRE', prefix .. id, retention_ms) end
  end
  stepped = stepped + #ids
  if #ids == STEPS_MAX then return step(flow, 'keep', from + STEPS_MAX) end
  redis.call('PEXPIRE', flow_jobs_ .. flow, retention_ms)
  redis.call('PEXPIRE', flow_ .. flow, retention_ms)
end

local ALWAYS = { stop = true, ['end'] = true, keep = true } -- the others only while the flow runs

local function take_steps()
  local first = 1
  while queue[first] and stepped < STEPS_MAX do
    local each = queue[first]
    first, stepped = first + 1, stepped + 1
    if ALWAYS[each[2]] or redis.call('HGET', flow_ .. each[1], 'state') == 'running' then
      take_step[each[2]](each[1], unpack(each, 3))
    end
  end
  for i = first, #queue do
    redis.call('RPUSH', flow_steps, round_of(queue[i][1]) .. ' ' .. table.concat(queue[i], ' '))
  end
  if queue[first] then ring('flows') end
end

local write_down = close
local function close()
  if queue[1] then take_steps() end
  write_down()
end
