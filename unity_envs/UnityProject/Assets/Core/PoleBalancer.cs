using System;

namespace MlAgentsBridge
{
    /// <summary>
    /// A cart and the pole that is hinged to it, without the engine. The specification is the text at the top of
    /// unity_envs/worlds/pole_balancer.py, which is the same world in Python; the arithmetic has the same order there,
    /// so that both agree to the last digits. Metres, seconds, kilograms, radians.
    /// </summary>
    public sealed class PoleBalancer
    {
        public const int ObservationSize = 4;
        public const int MaxStep = 200;
        public const double Tick = 0.02;
        public const double Gravity = 9.81;
        public const double CartMass = 0.5;
        public const double PoleMass = 0.1;
        public const double CartInertia = 0.5 / 12.0 * 1.09; // of a box of 1 x 0.3 about its depth
        public const double PoleInertia = 0.0323074;         // of a capsule of 2 m across its length
        public const double PoleArm = 0.95;                  // from the hinge to the centre of the pole
        public const double CartArm = 0.15;                  // from the centre of the cart to the hinge
        public const double AngularDamping = 0.05;
        public const double Speed = 2.0;
        public const double Force = 10.0;
        public const double PositionLimit = 2.4;
        public const double RadiansPerDegree = Math.PI / 180.0;
        public const double AngleLimit = 15.0 * RadiansPerDegree;
        public const double ResetDegrees = 5.0;

        /// <summary>Actions are a force on the cart, not its velocity.</summary>
        public readonly bool UsesForce;

        public double CartX;
        public double CartVelocity;
        /// <summary>Centre of the pole.</summary>
        public double PoleX;
        /// <summary>Centre of the pole, from the height of the cart's centre.</summary>
        public double PoleY;
        /// <summary>Positive leans towards -x.</summary>
        public double Angle;
        public double PoleVelocityX;
        public double PoleVelocityY;
        public double Spin;

        public PoleBalancer(bool usesForce)
        {
            UsesForce = usesForce;
            Reset(0.0);
        }

        /// <summary>Whether the cart has left the track or the pole has fallen.</summary>
        public bool HasFailed
        {
            get { return Math.Abs(CartX) > PositionLimit || Math.Abs(Angle) > AngleLimit; }
        }

        /// <summary>What a step was worth that led here.</summary>
        public double Reward
        {
            get { return HasFailed ? 0.0 : 1.0; }
        }

        /// <summary>Everything at rest, the pole on its hinge and tilted by this angle in degrees.</summary>
        public void Reset(double degrees)
        {
            Angle = degrees * RadiansPerDegree;
            PoleX = -PoleArm * Math.Sin(Angle);
            PoleY = CartArm + PoleArm * Math.Cos(Angle);
            CartX = CartVelocity = PoleVelocityX = PoleVelocityY = Spin = 0.0;
        }

        /// <summary>One tick with action 0, left, or 1, right. Any other number commands 0.</summary>
        public void Step(int action)
        {
            double size = UsesForce ? Force : Speed;
            Advance(action == 0 ? -size : action == 1 ? size : 0.0);
        }

        /// <summary>
        /// One tick. Two passes over the one hinge, as PhysX does it: the first moves both bodies and closes the gap of
        /// the hinge, the second gives the velocities. The cart, held along y and in its rotation, counts as a free
        /// body inside of a pass; what it would have gained there is dropped afterwards.
        /// </summary>
        void Advance(double command)
        {
            double cartVelocityX = UsesForce ? CartVelocity + command * Tick / CartMass : command;
            double cartVelocityY = 0.0, cartSpin = 0.0;
            double velocityX = PoleVelocityX, velocityY = PoleVelocityY - Gravity * Tick;
            double spin = Spin * (1.0 - AngularDamping * Tick);

            // How the hinge point of the pole moves with its spin, and how softly both bodies take an impulse there.
            double turnX = PoleArm * Math.Cos(Angle), turnY = PoleArm * Math.Sin(Angle);
            double free = 1.0 / PoleMass + 1.0 / CartMass;
            double softnessXX = free + turnX * turnX / PoleInertia + CartArm * CartArm / CartInertia;
            double softnessXY = turnX * turnY / PoleInertia;
            double softnessYY = free + turnY * turnY / PoleInertia;
            double determinant = softnessXX * softnessYY - softnessXY * softnessXY;
            double gapX = PoleX + turnY - CartX;
            double gapY = PoleY - turnX - CartArm;

            for (int pass = 0; pass < 2; pass++)
            {
                double closingX = -(velocityX + spin * turnX - cartVelocityX + CartArm * cartSpin);
                double closingY = -(velocityY + spin * turnY - cartVelocityY);
                if (pass == 0)
                {
                    closingX -= gapX / Tick;
                    closingY -= gapY / Tick;
                }
                double impulseX = (softnessYY * closingX - softnessXY * closingY) / determinant;
                double impulseY = (softnessXX * closingY - softnessXY * closingX) / determinant;
                velocityX += impulseX / PoleMass;
                velocityY += impulseY / PoleMass;
                spin += (turnX * impulseX + turnY * impulseY) / PoleInertia;
                cartVelocityX -= impulseX / CartMass;
                cartVelocityY -= impulseY / CartMass;
                cartSpin += CartArm * impulseX / CartInertia;
                if (pass == 0)
                {
                    CartX += cartVelocityX * Tick;
                    PoleX += velocityX * Tick;
                    PoleY += velocityY * Tick;
                    Angle += spin * Tick;
                }
            }

            CartVelocity = cartVelocityX;
            PoleVelocityX = velocityX;
            PoleVelocityY = velocityY;
            Spin = spin;
        }

        /// <summary>Position and velocity of the cart, sine of half the angle, spin of the pole.</summary>
        public void Observe(float[] observation)
        {
            observation[0] = (float)CartX;
            observation[1] = (float)CartVelocity;
            observation[2] = (float)Math.Sin(0.5 * Angle);
            observation[3] = (float)Spin;
        }

        /// <summary>A good action: keeps the cart under the pole and near the middle of the track.</summary>
        public int Suggest()
        {
            return CartX + 2.0 * CartVelocity - 10.0 * Angle - 3.0 * Spin > 0.0 ? 1 : 0;
        }
    }
}
